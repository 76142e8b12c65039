package mirror

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

func TestAdminGuard(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.AdminHosts = []string{"sparrow.internal"}
		o.Admin = func(r *mux.Router) {
			r.HandleFunc("/v1/deploy/test", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "done") }).Methods(http.MethodPost)
		}
	})
	tests := []struct {
		name, method, path string
		host               string
		header             []string
		want               int
	}{
		{"operator", "GET", "/v1/status", "", nil, 200},
		{"no token", "GET", "/v1/status", "", []string{"Authorization", ""}, 401},
		{"hop secret", "GET", "/v1/status", "", []string{"Authorization", "Bearer " + hopSecret}, 401},
		{"no token, added route", "POST", "/v1/deploy/test", "", []string{"Authorization", "", "Content-Type", "application/json"}, 401},
		{"configured name", "GET", "/v1/status", "sparrow.internal:8081", nil, 200},
		{"localhost", "GET", "/v1/status", "localhost:8081", nil, 200},
		{"IPv6", "GET", "/v1/status", "[::1]:8081", nil, 200},
		{"rebound name", "GET", "/v1/status", "evil.example:8081", nil, 421},
		{"rebound name, metrics", "GET", "/metrics", "evil.example", nil, 421},
		{"own origin", "GET", "/v1/status", "localhost:8081", []string{"Origin", "http://localhost:8081"}, 200},
		{"other origin", "GET", "/v1/status", "localhost:8081", []string{"Origin", "http://localhost:9999"}, 403},
		{"null origin", "GET", "/v1/status", "", []string{"Origin", "null"}, 403},
		{"other site", "GET", "/v1/status", "", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"same site, other origin", "GET", "/v1/status", "", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"form", "POST", "/v1/deploy/test", "", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"text", "POST", "/v1/deploy/test", "", []string{"Content-Type", "text/plain"}, 415},
		{"no type", "POST", "/v1/deploy/test", "", nil, 415},
		{"JSON", "POST", "/v1/deploy/test", "", []string{"Content-Type", "application/json; charset=utf-8"}, 200},
		{"unknown path", "GET", "/v1/nothing", "", nil, 404},
		{"wrong method", "POST", "/v1/status", "", []string{"Content-Type", "application/json"}, 405},
		{"healthz", "GET", "/healthz", "", []string{"Authorization", ""}, 200},
		{"readyz", "GET", "/readyz", "", []string{"Authorization", ""}, 200},
		{"metrics", "GET", "/metrics", "", []string{"Authorization", ""}, 200},
		{"ledger, no number", "GET", "/v1/ledger?from=x&to=2", "", nil, 400},
		{"ledger, backwards", "GET", "/v1/ledger?from=3&to=2", "", nil, 400},
		{"dead, no stack", "GET", "/v1/dead", "", nil, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequest(tt.method, b.admin+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+operatorToken)
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			if tt.host != "" {
				r.Host = tt.host
			}
			resp, err := b.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.want {
				t.Errorf("%d, want %d: %s %v", resp.StatusCode, tt.want, body, err)
			}
			if kind := resp.Header.Get("Content-Type"); resp.StatusCode >= 400 && kind != "application/problem+json" {
				t.Errorf("Content-Type of %d: %s", resp.StatusCode, kind)
			}
		})
	}
}

func TestAdminAnswers(t *testing.T) {
	b := setUp(t, nil)
	ids := b.send(50, 4)
	r := b.control(event.Candidate, event.Green, 0)
	b.both(ids)
	tl, err := b.client.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if head, ok := tl.Head(); !ok || head.Hash() != r.Hash() || len(tl.Records()) != 2 {
		t.Errorf("timeline: %+v", tl.Records())
	}
	if _, err := b.mirror.AppendControl(t.Context(), event.Control{Generation: 2, Kind: event.Cutover, Live: event.Blue}); !errors.Is(err, journal.ErrConflict) {
		t.Errorf("a record of a generation that is taken: %v", err)
	}
	l, err := b.client.Ledger(t.Context(), 0, 1<<40)
	if err != nil || l.Totals.Requests != 50 || len(l.Buckets) != 1 {
		t.Errorf("ledger: %+v, %v", l, err)
	}
	var answer *AnswerError
	if _, err := NewClient(b.admin, "wrong").Status(t.Context()); !errors.As(err, &answer) || answer.Status != 401 {
		t.Errorf("a wrong token: %v", err)
	}
	if got := b.mirror.Builds(); got[event.Green].ID != "green-build" || got[event.Blue].ID != "blue-build" {
		t.Errorf("builds: %v", got)
	}
	resp, err := b.http.Get(b.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`sparrow_mirror_requests_total{code="200",reason="accepted"} 50`,
		`sparrow_mirror_equation_ok{stack="green"} 1`,
		`sparrow_mirror_equation_ok{stack="blue"} 1`,
		`sparrow_mirror_live{stack="green"} 1`,
		`sparrow_mirror_live{stack="blue"} 0`,
		`sparrow_mirror_delivered{stack="blue"} 50`,
		`sparrow_mirror_pending_requests{stack="blue"} 0`,
		`sparrow_mirror_accepting 1`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(string(text), hopSecret) || strings.Contains(string(text), operatorToken) {
		t.Error("metrics show a secret")
	}
}

// A new journal begins above what the stacks already have; until both have said what that is, nothing is accepted.
func TestNewJournalBeginsAboveTheOldOne(t *testing.T) {
	b := &bench{t: t, green: newRig(t, event.Green), blue: newRig(t, event.Blue)}
	b.green.journals["old"] = journalSeen{ID: "old", First: 1, Highest: 700}
	b.green.cursor = event.Cursor{Frame: 701}
	b.blue.journals["old"] = journalSeen{ID: "old", First: 1, Highest: 650}
	b.blue.cursor = event.Cursor{Frame: 651}
	addr := b.blue.addr
	b.blue.stop()
	b.options = testOptions(journalDir(t), b.green.url(), b.blue.url())
	b.begin()
	t.Cleanup(b.stop)
	b.await("not ready until blue answers", func() error {
		for _, why := range b.mirror.ready() {
			if strings.Contains(why.Error(), "until stack blue says which frames it has") {
				return nil
			}
		}
		return errors.New("other reasons")
	})
	resp, err := b.http.Post(b.clients+"/v1/events", "", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answered %d before the journal is open", resp.StatusCode)
	}
	b.blue.listen(addr)
	b.await("ready", func() error { return errors.Join(b.mirror.ready()...) })
	ids := b.send(20, 2)
	b.both(ids)
	for _, a := range b.blue.got() {
		if a.Frame <= 700 {
			t.Errorf("%v lies in the old journal's range", a.Cursor)
		}
	}
	b.blue.mu.Lock()
	defer b.blue.mu.Unlock()
	if len(b.blue.holes) != 1 || b.blue.holes[0].From != (event.Cursor{Frame: 651}) || b.blue.holes[0].To != (event.Cursor{Frame: 701}) {
		t.Errorf("what blue will never get of the old journal: %+v", b.blue.holes)
	}
}
