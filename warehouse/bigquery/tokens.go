package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"google.golang.org/grpc/metadata"
)

// scope is what our tokens may be used for.
const scope = "https://www.googleapis.com/auth/bigquery"

// tokens keeps the one access token that every call of both APIs shows. It is fetched once, by one caller while the
// others wait, again before it expires, and again when a server says that it is no longer good. Client libraries would
// each keep one of their own, and would show a revoked one until it expires.
type tokens struct {
	open func() (auth.TokenProvider, error) // a source that has fetched nothing yet
	now  func() time.Time

	turn chan struct{} // holds one: whoever takes it may fetch

	mu    sync.Mutex
	token *auth.Token // guarded by mu; nil: none
}

// early is how long before its end a token is fetched anew; never more than half of its life is given away.
const early = 4 * time.Minute

// newTokens returns the tokens of a service-account file, or of the application default credentials.
func newTokens(file string, client *http.Client) (*tokens, error) {
	o := &credentials.DetectOptions{Scopes: []string{scope}, Client: client}
	t := &tokens{now: time.Now, turn: make(chan struct{}, 1)}
	if file == "" {
		t.open = func() (auth.TokenProvider, error) { return credentials.DetectDefault(o) }
	} else {
		t.open = func() (auth.TokenProvider, error) {
			data, err := os.ReadFile(file) // each time, so that a key that was changed is found
			if err != nil {
				return nil, err
			}
			c, err := credentials.NewCredentialsFromJSON(credentials.ServiceAccount, data, o)
			if err != nil {
				return nil, fmt.Errorf("%s is no service-account file: download a key of type JSON", file)
			}
			return c, nil
		}
	}
	if _, err := t.open(); err != nil {
		return nil, fmt.Errorf("warehouse: BigQuery credentials: %w", err)
	}
	return t, nil
}

// get returns a token that is good for a while yet.
func (t *tokens) get(ctx context.Context) (string, error) {
	if v := t.current(); v != "" {
		return v, nil
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for an access token: %w", ctx.Err())
	}
	if v := t.current(); v != "" { // somebody else fetched it meanwhile
		return v, nil
	}
	source, err := t.open()
	if err != nil {
		return "", fmt.Errorf("BigQuery credentials: %w", err)
	}
	token, err := source.Token(ctx)
	if err != nil {
		return "", tokenError(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	life := token.Expiry.Sub(t.now())
	if token.Expiry.IsZero() {
		life = 2 * early
	}
	kept := *token
	kept.Expiry = t.now().Add(life - min(early, life/2))
	t.token = &kept
	return token.Value, nil
}

// tokenError says what the token server said, without its body, which may hold parts of what it was sent.
func tokenError(err error) error {
	var e *auth.Error
	if errors.As(err, &e) && e.Response != nil {
		return fmt.Errorf("no access token: the token server answers %s: check the service account and its key, and this machine's clock", e.Response.Status)
	}
	return fmt.Errorf("no access token: %w", err)
}

func (t *tokens) current() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == nil || !t.now().Before(t.token.Expiry) {
		return ""
	}
	return t.token.Value
}

// reject forgets a token that a server refused, unless another has taken its place.
func (t *tokens) reject(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != nil && t.token.Value == value {
		t.token = nil
	}
}

// transport shows the token to the REST API, and once more a new one if it was refused.
type transport struct {
	tokens *tokens
	base   http.RoundTripper
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		token, err := t.tokens.get(r.Context())
		if err != nil {
			return nil, err
		}
		try := r.Clone(r.Context())
		if attempt > 0 && r.Body != nil {
			if r.GetBody == nil {
				return nil, errors.New("the token was refused, and the request cannot be sent again")
			}
			if try.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		try.Header.Set("Authorization", "Bearer "+token)
		answer, err := t.base.RoundTrip(try)
		if err != nil || answer.StatusCode != http.StatusUnauthorized || attempt > 0 {
			return answer, err
		}
		t.tokens.reject(token)
		if r.Body != nil && r.GetBody == nil {
			return answer, nil // the next call shows a new one
		}
		answer.Body.Close()
	}
}

// authorize adds the token to a call of the Storage API, and returns it. None without credentials.
func (t *tokens) authorize(ctx context.Context) (context.Context, string, error) {
	if t == nil {
		return ctx, "", nil
	}
	token, err := t.get(ctx)
	if err != nil {
		return nil, "", err
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), token, nil
}
