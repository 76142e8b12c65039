package served

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
	"github.com/sparrowhq/sparrow/warehouse"
)

// ClientOptions configure New.
type ClientOptions struct {
	URL    string // of the warehouse process, such as http://127.0.0.1:9000; required
	Secret string // required
}

// Client is a warehouse in another process. It is safe for concurrent use. It retries nothing: an error that is not one
// of the typed ones is of unknown outcome, as with any engine.
type Client struct {
	base   string
	client *http.Client
}

var _ warehouse.Warehouse = (*Client)(nil)

// New returns a client. It does not connect yet.
func New(o ClientOptions) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("warehouse address %q: want one like http://127.0.0.1:9000", o.URL)
	}
	if o.Secret == "" {
		return nil, errors.New("warehouse client: Secret is required")
	}
	return &Client{base: strings.TrimRight(u.String(), "/"), client: service.Client(o.Secret)}, nil
}

// do sends a request; an answer other than 200 becomes an error.
func (c *Client) do(ctx context.Context, method, path string, body []byte, header http.Header) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = v
	}
	answer, err := c.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("warehouse: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		return nil, fmt.Errorf("warehouse: %w", readProblem(answer))
	}
	return answer, nil
}

// json sends a request whose answer is JSON.
func (c *Client) json(ctx context.Context, method, path string, body []byte, header http.Header, v any) error {
	answer, err := c.do(ctx, method, path, body, header)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, 16<<20)).Decode(v); err != nil {
		return fmt.Errorf("warehouse: answer to %s: %w", path, err)
	}
	return nil
}

// Append implements warehouse.Appender.
func (c *Client) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	body, err := encodeBatch(b)
	if err != nil {
		return event.Cursor{}, fmt.Errorf("warehouse: batch [%v, %v): %w", b.From, b.To, err)
	}
	var cursor event.Cursor
	err = c.json(ctx, http.MethodPost, "/v1/append", body, http.Header{"Content-Type": {BatchType}, stackHeader: {string(b.Stack)}}, &cursor)
	if err == nil && cursor.Compare(b.To) < 0 {
		err = fmt.Errorf("warehouse: stored up to %v only, wanted %v", cursor, b.To)
	}
	return cursor, err
}

// Cursor implements warehouse.Appender.
func (c *Client) Cursor(ctx context.Context, stack event.Stack, run uint64, stage warehouse.Stage) (event.Cursor, error) {
	q := url.Values{"stack": {string(stack)}, "run": {strconv.FormatUint(run, 10)}, "stage": {string(stage)}}
	var cursor event.Cursor
	err := c.json(ctx, http.MethodGet, "/v1/cursors?"+q.Encode(), nil, nil, &cursor)
	return cursor, err
}

// Journals implements warehouse.Reader.
func (c *Client) Journals(ctx context.Context) ([]warehouse.Journal, error) {
	var js []warehouse.Journal
	err := c.json(ctx, http.MethodGet, "/v1/journals", nil, nil, &js)
	return js, err
}

// Normalise implements warehouse.Normaliser.
func (c *Client) Normalise(ctx context.Context, stack event.Stack, properties []warehouse.Property) error {
	if err := warehouse.CheckProperties(properties); err != nil { // JSON would make valid what is not UTF-8
		return fmt.Errorf("warehouse: raw_normalized of %s: %w", stack, err)
	}
	body, err := json.Marshal(normalisation{Stack: stack, Properties: properties})
	if err != nil {
		return fmt.Errorf("warehouse: raw_normalized of %s: %w", stack, err)
	}
	return c.json(ctx, http.MethodPost, "/v1/normalise", body, http.Header{"Content-Type": {"application/json"}}, new(struct{}))
}

// Query implements warehouse.Reader.
func (c *Client) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	body, err := encodeQuery(q)
	if err != nil {
		return nil, fmt.Errorf("warehouse: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	answer, err := c.do(ctx, http.MethodPost, "/v1/query", body, http.Header{"Content-Type": {"application/json"}})
	if err != nil {
		cancel()
		return nil, err
	}
	r := &rowsReader{r: bufio.NewReaderSize(answer.Body, blockBytes)}
	closed := func() error {
		cancel()
		r.err = errors.New("rows are closed")
		return answer.Body.Close()
	}
	if err := r.open(); err != nil {
		closed()
		return nil, fmt.Errorf("warehouse: %w", err)
	}
	return &warehouse.Rows{
		Columns: r.columns,
		Next: func() ([]any, error) {
			row, err := r.next()
			if err != nil && ctx.Err() != nil && err != io.EOF {
				err = fmt.Errorf("%w: %w", ctx.Err(), err)
			}
			return row, err
		},
		Truncated: func() bool { return r.end != nil && r.end.Truncated },
		Close:     closed,
	}, nil
}

// Close gives up the connections. The warehouse itself stays open.
func (c *Client) Close() error {
	c.client.CloseIdleConnections()
	return nil
}
