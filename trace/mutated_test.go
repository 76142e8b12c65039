package trace_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/warehouse"
)

// places is a warehouse that keeps positions only: those of each stage in the order they came.
type places struct {
	mu       sync.Mutex
	cursors  map[warehouse.Stage]event.Cursor
	came     map[warehouse.Stage][]event.Position
	accepted []event.Position      // at stage trace
	outcomes map[string]int        // by stage, outcome and reason
	bugs     []event.Position      // outcomes that say a panic was caught
	gaps     []*warehouse.GapError // batches that do not begin at the cursor
}

func newPlaces() *places {
	return &places{cursors: map[warehouse.Stage]event.Cursor{}, came: map[warehouse.Stage][]event.Position{}, outcomes: map[string]int{}}
}

func (p *places) Append(_ context.Context, b *warehouse.Batch) (event.Cursor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.cursors[b.Stage]; have != b.From {
		gap := &warehouse.GapError{Have: have, From: b.From}
		p.gaps = append(p.gaps, gap)
		return have, gap
	}
	for i := range b.Rows {
		p.came[b.Stage] = append(p.came[b.Stage], b.Rows[i].Position)
	}
	for i := range b.Outcomes {
		o := &b.Outcomes[i]
		p.came[b.Stage] = append(p.came[b.Stage], o.Position)
		reason, _, _ := strings.Cut(o.Reason, ":")
		p.outcomes[fmt.Sprintf("%s %s %s", b.Stage, o.Outcome, reason)]++
		if o.Reason == string(pipeline.Bug) {
			p.bugs = append(p.bugs, o.Position)
		}
		if b.Stage == warehouse.Trace && o.Outcome == string(pipeline.Accepted) {
			p.accepted = append(p.accepted, o.Position)
		}
	}
	p.cursors[b.Stage] = b.To
	return b.To, nil
}

func (p *places) Cursor(_ context.Context, _ event.Stack, _ uint64, s warehouse.Stage) (event.Cursor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cursors[s], nil
}

func (p *places) Normalise(context.Context, event.Stack, []warehouse.Property) error { return nil }
func (p *places) Journals(context.Context) ([]warehouse.Journal, error)              { return nil, nil }

// seeds are payloads of many shapes, and the real ones of SPARROW_TEST_DATA where that is set.
func seeds(t testing.TB) (all [][]byte) {
	for n := range 20 {
		all = append(all, []byte(pageview(n)))
	}
	for _, text := range []string{
		`{"event":"e","deviceId":"d","userId":7,"messageId":"m","timestamp":1,"properties":{"s":"jim@example.com","u":"https://u:p@x.example/a?x=y#z","i":12345678901234567890123,"n":1.5e3,"b":true,"ss":["203.0.113.9","a"],"ii":[1],"o":{"a@b.cc":{"c":[null]}},"a":[[],{"x":"%40"}],"do.t":"\u0000","zero":-0.0}}`,
		`[{"event":"pageview","deviceId":"a","properties":{"pathname":"/"}},{"event":"e","deviceId":"b"},7,null,"x",{"event":"nobody knows"}]`,
		`{"sentAt":"2026-01-15T12:00:00Z","batch":[{"event":"e","deviceId":"a","properties":{"s":"ä✓😀\ud83d\ude00"}},{"event":"e","userId":"u","properties":{"s":"` + strings.Repeat("long ", 300) + `"}}],"writeKey":"dev"}`,
		`{"event":"e","deviceId":"d","properties":{"o":` + strings.Repeat(`{"a":[`, 60) + strings.Repeat(`]}`, 60) + `}}`,
		`[]`, `{}`, `null`, ` {"batch":[]} `, `{"event":"e","event":"pageview","deviceId":"d"}`, `{"batch":[{"event":"e"}],"batch":7}`,
	} {
		all = append(all, []byte(text))
	}
	dir := os.Getenv("SPARROW_TEST_DATA")
	if dir == "" {
		return all
	}
	files, err := filepath.Glob(filepath.Join(dir, "payloads", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no payloads in %s: %v", dir, err)
	}
	for _, set := range []string{"wikiticker", "waves", "readers"} {
		files = append(files, filepath.Join(dir, set, "events.ndjson"))
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for line := range bytes.Lines(data) {
			if line = bytes.TrimSpace(line); len(line) > 2 && len(line) < 1<<13 && json.Valid(line) && lines < 200 {
				all = append(all, line)
				lines++
			}
		}
		if lines == 0 {
			all = append(all, data[:min(len(data), 1<<13)])
		}
	}
	return all
}

// pieces are what JSON is made of, and what somebody looks for.
var pieces = []string{
	`{`, `}`, `[`, `]`, `"`, `\`, `,`, `:`, `null`, `true`, `1e999`, `-`, `\u0000`, `\ud800`, "\x00", "\xff", "\xef\xbb\xbf", `"event":"e",`, `"properties":{`, `"deviceId":"d",`, `{"batch":[`,
	`"messageId":"m",`, "jim@example.com", "%40", "4111 1111 1111 1111", "https://u:p@x/?y=z", "2001:db8::1", "password=", `&#64;`, strings.Repeat("[", 300), strings.Repeat(`{"a":`, 300), "99999999999999999999",
}

// mutated changes a payload in ways that damage, misuse and malice do.
func mutated(rng *rand.Rand, data []byte, others [][]byte) []byte {
	data = slices.Clone(data)
	part := func(of []byte) (from, to int) {
		a, b := rng.IntN(len(of)+1), rng.IntN(len(of)+1)
		return min(a, b), max(a, b)
	}
	for range rng.IntN(4) {
		at := rng.IntN(len(data) + 1)
		switch rng.IntN(9) {
		case 0: // bits flip
			for range 1 + rng.IntN(3) {
				if len(data) > 0 {
					data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
				}
			}
		case 1: // cut short
			data = data[:at]
		case 2: // a part is gone
			from, to := part(data)
			data = slices.Delete(data, from, to)
		case 3: // a part comes twice
			from, to := part(data)
			data = slices.Insert(data, to, slices.Clone(data[from:to])...)
		case 4: // a part of another, anywhere
			other := others[rng.IntN(len(others))]
			from, to := part(other)
			data = slices.Insert(data, at, other[from:to]...)
		case 5:
			data = slices.Insert(data, at, []byte(pieces[rng.IntN(len(pieces))])...)
		case 6: // a list of several, which stays JSON if they are
			list := []byte{'['}
			for range rng.IntN(6) {
				list = append(append(list, others[rng.IntN(len(others))]...), ',')
			}
			data = append(append(list, data...), ']')
		case 7: // nested
			depth := 1 << rng.IntN(11)
			data = slices.Concat([]byte(`{"event":"e","deviceId":"d","properties":{"o":`), bytes.Repeat([]byte("["), depth), data, bytes.Repeat([]byte("]"), depth), []byte("}}"))
		default:
			data = slices.Concat([]byte(`{"batch":[`), data, []byte(`],"context":{"a":1}}`))
		}
		if len(data) > 1<<14 {
			data = data[:1<<14]
		}
	}
	return data
}

var zipper, deflater = gzip.NewWriter(nil), zlib.NewWriter(nil) // each takes nearly a megabyte

// encoded puts a body into one of the encodings that clients use, or claim to.
func encoded(t testing.TB, rng *rand.Rand, r *event.Request) {
	name := []string{"gzip", "deflate", "identity", "br", "gzip, gzip", "GZIP", ""}[rng.IntN(7)]
	r.Headers = append(r.Headers, &event.Header{Name: "Content-Encoding", Value: []byte(name)})
	var b bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	switch strings.ToLower(name) {
	case "gzip", "gzip, gzip":
		zipper.Reset(&b)
		w = zipper
	case "deflate":
		deflater.Reset(&b)
		w = deflater
	default:
		return
	}
	if _, err := w.Write(r.Body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.Body = b.Bytes()
	switch rng.IntN(6) {
	case 0:
		r.Body = r.Body[:rng.IntN(len(r.Body))]
	case 1:
		r.Body[rng.IntN(len(r.Body))] ^= 1 << rng.IntN(8)
	}
}

// Whatever is sent: nobody panics, trace has exactly one outcome for each row that the dispatcher stores, at the same
// position, and each tracker exactly one for each event that trace accepts. 20,000 payloads; a million with SPARROW_SOAK.
func TestMutatedPayloads(t *testing.T) {
	const inFrame = 500
	frames := 20_000 / inFrame
	if os.Getenv("SPARROW_SOAK") != "" {
		frames = 1_000_000 / inFrame
	}
	all := seeds(t)
	learnt := pipeline.Learn(func(yield func([]byte) bool) {
		var b body.Body
		for _, seed := range all {
			if body.Split(seed, 10_000, &b) != "" {
				continue
			}
			for _, item := range b.Items {
				if !yield(item.Data) {
					return
				}
			}
		}
	}, pipeline.LearnOptions{Sources: map[string]pipeline.Source{"web": {Keys: []string{"dev"}, Origins: []string{"none"}}}}).Config
	learnt.Trackers = map[string]pipeline.TrackerRule{"ga4": {}, "heap": {}, "amplitude": {}, "hook": {Vendor: "webhook"}}

	w := newPlaces()
	o := options(t, t.TempDir(), &vendors{t: t, url: "http://127.0.0.1:1"}, w)
	o.Pipeline = learnt
	for name, to := range o.Trackers {
		to.Gather = -1
		to.Modes = map[tracker.Sink]tracker.Mode{tracker.Production: {Kind: tracker.DryRun}, tracker.Staging: {Kind: tracker.DryRun}}
		o.Trackers[name] = to
	}
	tr, err := trace.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := serve(t, tr)
	until(t, "trace has begun", func() bool { _, err := p.feed.Cursor(context.Background(), 0); return err == nil })
	d, err := dispatcher.New(dispatcher.Options{Stack: event.Green, Build: build, Secret: secret, Warehouse: w, Journals: w, Forwarder: p.feed})
	if err != nil {
		t.Fatal(err)
	}
	handler := d.Handler()

	rng := rand.New(rand.NewPCG(5, 6))
	began := time.Now()
	for sequence := 1; sequence <= frames; sequence++ {
		var requests []*event.Request
		for i := range inFrame {
			r := request(sequence*inFrame+i, "")
			r.Body = mutated(rng, all[rng.IntN(len(all))], all)
			if rng.IntN(5) == 0 {
				encoded(t, rng, r)
			}
			if rng.IntN(50) == 0 {
				r.Query = mutated(rng, r.Query, all)
			}
			requests = append(requests, r)
		}
		data, err := proto.Marshal(delivery(frame(t, uint64(sequence), event.Green, requests...)))
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the delivery is taken", func() bool {
			req := httptest.NewRequest(http.MethodPost, "/v1/frames", bytes.NewReader(data))
			req.Header.Set("Content-Type", event.DeliveryType)
			req.Header.Set("Authorization", "Bearer "+secret)
			resp := httptest.NewRecorder()
			handler.ServeHTTP(resp, req)
			if resp.Code != http.StatusOK && resp.Code != http.StatusServiceUnavailable {
				t.Fatalf("frame %d is answered %d %s", sequence, resp.Code, resp.Body)
			}
			return resp.Code == http.StatusOK
		})
	}
	p.settled()

	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.bugs) > 0 || len(w.gaps) > 0 {
		t.Errorf("panics were caught at %v; gaps: %v", w.bugs[:min(len(w.bugs), 5)], w.gaps)
	}
	raw := w.came[warehouse.Raw]
	for i := 1; i < len(raw); i++ {
		if raw[i-1].Compare(raw[i]) >= 0 {
			t.Fatalf("raw has %v after %v", raw[i], raw[i-1])
		}
	}
	same := func(stage warehouse.Stage, want []event.Position) {
		t.Helper()
		got := w.came[stage]
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Errorf("%s has %d outcomes, want %d; they part after %v", stage, len(got), len(want), want[:min(i, len(want))][max(0, min(i, len(want))-1):])
				return
			}
		}
	}
	same(warehouse.Trace, raw)
	for name := range o.Trackers {
		same(warehouse.Stage(name), w.accepted)
	}
	kinds := 0
	for what := range w.outcomes {
		if strings.HasPrefix(what, "trace ") {
			kinds++
		}
	}
	if kinds < 12 || len(w.accepted) < frames*inFrame/20 {
		t.Errorf("the mutations reach too little: %v", w.outcomes)
	}
	t.Logf("%d mutated payloads in %s: %d events, %d accepted; %v", frames*inFrame, time.Since(began).Round(time.Second), len(raw), len(w.accepted), w.outcomes)
}
