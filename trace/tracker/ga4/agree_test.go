package ga4_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/ga4"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// naive is an event in the vendor's form with nothing checked: what would go out if there were no pre-check.
func naive(e *pipeline.Event) *tracker.Form {
	name, called := e.Name, map[string]string{}
	if name == "pageview" { // that is translation, no check
		name = "page_view"
		called = map[string]string{"url": "page_location", "title": "page_title", "referrer": "page_referrer"}
		if e.Property("url") == nil {
			called["pathname"] = "page_location"
		}
	}
	b := wire.AppendString([]byte(`{"name":`), name)
	b = append(b, `,"params":{"session_id":"1","engagement_time_msec":1`...)
	for _, p := range e.Properties {
		as := p.Name
		if called[as] != "" {
			as = called[as]
		}
		b = append(append(wire.AppendString(append(b, ','), as), ':'), p.Value...)
	}
	return &tracker.Form{Key: e.ID, Head: wire.AppendString([]byte(`"client_id":`), e.DeviceID), Body: append(b, '}', '}')}
}

// legal is what a mapping would make of a name.
func legal(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '_' || 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), 40)]
}

// The pre-check and the validation endpoint, written apart, say the same of every real event: what the one rejects, cuts
// or leaves out the other complains of if it is sent as it is, and of nothing that is let pass.
func TestAgreesWithValidationOnRealData(t *testing.T) {
	dir := os.Getenv("SPARROW_TEST_DATA")
	if dir == "" {
		t.Skip("SPARROW_TEST_DATA is not set")
	}
	for _, set := range []string{"wikiticker", "waves", "readers"} {
		t.Run(set, func(t *testing.T) {
			f, err := os.Open(filepath.Join(dir, set, "events.ndjson"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var rows [][]byte
			step := 1
			if os.Getenv("SPARROW_SOAK") == "" {
				step = 25 // all of them take minutes with the race detector
			}
			s := bufio.NewScanner(f)
			for i := 0; s.Scan(); i++ {
				if i%step == 0 {
					rows = append(rows, bytes.Clone(s.Bytes()))
				}
			}
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			proposal := pipeline.Learn(func(yield func([]byte) bool) {
				for _, row := range rows {
					if !yield(row) {
						return
					}
				}
			}, pipeline.LearnOptions{Events: 400})
			c := proposal.Config
			c.Trackers = map[string]pipeline.TrackerRule{"ga4": {}}
			p, err := pipeline.New(pipeline.Options{Config: c, Secret: make([]byte, 16)})
			if err != nil {
				t.Fatal(err)
			}
			box, err := sandbox.New(sandbox.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer box.Close()
			handler := box.Handler()
			v := ga4.New()
			ask := func(form *tracker.Form) []tracker.Warning {
				var r tracker.Request
				if !v.Check(tracker.Credential{URL: "http://localhost/ga4/mp/collect", Key: "G-1", Secret: "x"}, []*tracker.Form{form}, &r) {
					t.Fatal("there is no validation endpoint")
				}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, r.URL, bytes.NewReader(r.Body)))
				warnings, err := v.Messages(&tracker.Answer{Status: w.Code, Body: w.Body.Bytes()})
				if err != nil {
					t.Fatal(err)
				}
				return warnings
			}
			counts := map[string]int{}
			compare := func(row int, e pipeline.Event, how string) {
				var form tracker.Form
				breach := v.Form(&e, &form)
				said := ask(naive(&e))
				if e.Name == "pageview" || e.Name == "page_view" {
					// The tracker gives these the vendor's own names, for which longer values are allowed.
					said = slices.DeleteFunc(said, func(w tracker.Warning) bool {
						return slices.Contains([]string{"events.params.url", "events.params.title", "events.params.referrer", "events.params.pathname"}, w.Field)
					})
				}
				typed := false // the vendor's documents do not say what its validation makes of a value's type
				for _, w := range form.Warnings {
					typed = typed || w.Code == "VALUE_INVALID"
				}
				complains := breach != nil || len(form.Warnings) > 0
				switch {
				case complains && len(said) == 0 && !typed, !complains && len(said) > 0:
					t.Fatalf("row %d: the pre-check says %v %v, the validation %v, of %s", row, breach, form.Warnings, said, naive(&e).Body)
				case complains:
					counts["both complain"+how]++
				default:
					counts["neither complains"+how]++
				}
				if breach == nil {
					if said := ask(&form); len(said) > 0 {
						t.Fatalf("row %d is let pass, and the validation says %v of %s", row, said, form.Body)
					}
				}
			}
			var b pipeline.Batch
			id := uuid.Must(uuid.NewV7())
			for i, row := range rows {
				b.Reset()
				p.Process(uint64(i), 0, &event.Request{Id: id[:], ReceivedAt: 1, Method: []byte("POST"), Path: []byte("/v1/events"), Query: []byte("k=development"), Body: row}, &b)
				for j := range b.Events {
					e, decision, _ := p.View("ga4", &b.Events[j])
					if decision != pipeline.Send {
						t.Fatalf("%v is not sent", e.Position)
					}
					e.Time = 1 << 60 // age is another matter
					compare(i, e, "")
					if e.Name = legal(e.Name); e.Name != b.Events[j].Name {
						compare(i, e, ", under a name that is allowed") // or the name's fault would hide all others
					}
				}
			}
			t.Log(counts)
			if len(counts) == 0 {
				t.Error("nothing was compared")
			}
		})
	}
}
