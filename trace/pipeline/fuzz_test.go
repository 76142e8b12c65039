package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/event/body"
)

// checkRequest holds for any request at all: no panic, exactly one outcome for each item, an event exactly where it was
// accepted, each of its values valid JSON, and the encoded form reads back.
func checkRequest(t testing.TB, p *Pipeline, r *event.Request) *Batch {
	t.Helper()
	var b Batch
	p.Process(7, 3, r, &b)
	if len(b.Faults) > 0 {
		t.Fatalf("panic: %s\n%q", b.Faults[0].Stack, r.Body)
	}
	want := 1
	var encodings []string
	for _, h := range r.Headers {
		if strings.EqualFold(h.Name, "Content-Encoding") {
			encodings = append(encodings, string(h.Value))
		}
	}
	if text, reason := body.Decode(encodings, r.Body, 8<<20); reason == "" {
		var split body.Body
		if body.Split(text, 10_000, &split) == "" {
			want = max(1, len(split.Items))
		}
	}
	if len(b.Outcomes) != want {
		t.Fatalf("%d outcomes of %d items\n%q", len(b.Outcomes), want, r.Body)
	}
	accepted := 0
	for i, o := range b.Outcomes {
		if o.Item != uint32(i) || (o.Result == Accepted) != (o.Reason == "") || o.Result != Accepted && o.Result != Rejected || o.Reason == Bug {
			t.Fatalf("outcome %d: %+v\n%q", i, o, r.Body)
		}
		if o.Result == Accepted {
			if accepted == len(b.Events) || b.Events[accepted].Item != o.Item || b.Events[accepted].ID != o.ID {
				t.Fatalf("outcome %d has no event\n%q", i, r.Body)
			}
			accepted++
		}
		if !utf8.ValidString(o.Name) {
			t.Fatalf("outcome %d: name %q", i, o.Name)
		}
	}
	if accepted != len(b.Events) {
		t.Fatalf("%d accepted, %d events", accepted, len(b.Events))
	}
	for i := range b.Events {
		e := &b.Events[i]
		for j, one := range e.Properties {
			if !json.Valid(one.Value) || !utf8.Valid(one.Value) || j > 0 && e.Properties[j-1].Name >= one.Name {
				t.Fatalf("property %q: %q\n%q", one.Name, one.Value, r.Body)
			}
		}
		data := e.Append(nil)
		if got, err := DecodeEvent(data); err != nil || !bytes.Equal(got.Append(nil), data) {
			t.Fatalf("decoding: %v\n%q", err, r.Body)
		}
		for _, tracker := range p.Trackers() {
			p.View(tracker, e)
		}
	}
	return &b
}

// wideConfig lets through as much as a configuration can.
const wideConfig = `
sources: {web: {keys: [pk_web], origins: [https://www.example.com]}}
consent: {a: consent, b: deep.consent}
properties: {session_id: string, url: url}
events:
  e: {properties: {s: string, u: url, i: integer, n: number, b: boolean, x: scalar, t: time, ss: strings, ii: integers, nn: numbers, o: object, a: array, deep.er.s: string, 'do\.t': string, m: {type: array, members: {k: string, v: {type: object, members: {w: scalar}}}}}}
  f: {properties: {s: {type: string, required: true, on_wrong: reject, values: [a, b]}}}
scrub: {patterns: [{name: own, match: 'KD-\d+'}], fields: {t: hash}, rules: {ip: drop}}
trackers: {ga4: {}, heap: {ids: plain}, amplitude: {consent: {purposes: [a]}}}
`

func FuzzProcess(f *testing.F) {
	p := mustPipeline(f, wideConfig)
	for _, r := range goldenRequests() {
		f.Add(r.Body, r.Query, "User-Agent", "x")
	}
	f.Add([]byte(`{"event":"e","deviceId":"d","userId":7,"messageId":"m","timestamp":1,"properties":{"s":"jim@example.com","u":"//x?y","i":4111111111111111,"n":1.5e3,"b":true,"x":"KD-1","t":"2026-01-15T12:00:00Z","ss":["203.0.113.9","a"],"ii":[1],"nn":[0.1],"o":{"a@b.cc":{"c":[null]}},"a":[[],{"x":"%40"}],"deep":{"er":{"s":"\ud800"},"consent":false},"do.t":"\u0000","m":[{"k":"a","v":{"w":1}}],"consent":"yes"}}`), []byte("k=pk_web"), "Accept-Language", "de")
	f.Add([]byte(`[{"event":"f","deviceId":"d","properties":{"s":"a"}},{"event":"f","deviceId":"d","properties":{"s":"c"}}]`), []byte("k=pk_web&k=x"), "Referer", "https://a@b/?c#d")
	f.Fuzz(func(t *testing.T, text, query []byte, name, value string) {
		r := request("")
		r.Body, r.Query = text, query
		checkRequest(t, p, with(r, name, value))
		r.Query = []byte("k=pk_web")
		checkRequest(t, p, r)
	})
}

// mutate changes a payload in one of the ways that damage and misuse do.
func mutate(rng *rand.Rand, data []byte, others [][]byte) []byte {
	data = slices.Clone(data)
	at := func() int { return rng.IntN(len(data) + 1) }
	for range 1 + rng.IntN(3) {
		switch rng.IntN(9) {
		case 0: // a bit
			if len(data) > 0 {
				data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			}
		case 1: // cut short
			data = data[:at()]
		case 2: // a part twice
			a, b := at(), at()
			a, b = min(a, b), max(a, b)
			data = slices.Insert(data, b, data[a:b]...)
		case 3: // a part gone
			a, b := at(), at()
			data = slices.Delete(data, min(a, b), max(a, b))
		case 4: // a part of another
			other := others[rng.IntN(len(others))]
			a, b := rng.IntN(len(other)+1), rng.IntN(len(other)+1)
			data = slices.Insert(data, at(), other[min(a, b):max(a, b)]...)
		case 5: // what JSON is made of
			pieces := []string{`{`, `}`, `[`, `]`, `"`, `\`, `,`, `:`, `null`, `true`, `1e999`, `-`, `\u0000`, `\ud800`, `{"batch":`, "\x00", "\xff", `"event":"e",`, `"properties":{`, `"deviceId":"d",`, `[[[[[[[[[[`}
			data = slices.Insert(data, at(), []byte(pieces[rng.IntN(len(pieces))])...)
		case 6: // a number grows
			data = slices.Insert(data, at(), []byte(strconv.FormatUint(rng.Uint64(), 10))...)
		case 7: // what the scrubber looks for
			pieces := []string{"jim@example.com", "%40", "4111 1111 1111 1111", "https://u:p@x/?y=z", "203.0.113.9", "2001:db8::1", "Bearer abc123def456", "password=", "＠", "&#64;", `\\u0040`}
			data = slices.Insert(data, at(), []byte(pieces[rng.IntN(len(pieces))])...)
		default: // a byte
			data = slices.Insert(data, at(), byte(rng.IntN(256)))
		}
		if len(data) > 1<<16 {
			data = data[:1<<16]
		}
	}
	return data
}

// values returns where the values inside a valid JSON value stand, keys included.
func values(value []byte, base int, spans []span) []span {
	spans = append(spans, span{base, base + len(value)})
	within := func(part []byte) int { return base + cap(value) - cap(part) }
	switch kindOf(value) {
	case kindObject:
		members(value, func(key, member []byte) bool {
			spans = append(spans, span{within(key), within(key) + len(key)})
			spans = values(member, within(member), spans)
			return true
		})
	case kindArray:
		elements(value, func(element []byte) bool {
			spans = values(element, within(element), spans)
			return true
		})
	}
	return spans
}

// mutateValues changes a payload so that it stays JSON, if it is: values and keys change places with others.
func mutateValues(rng *rand.Rand, data []byte, others [][]byte) []byte {
	data = bytes.TrimSpace(data)
	for range 1 + rng.IntN(3) {
		if len(data) == 0 || endOfValue(data, 0, 1000) != len(data) {
			return mutate(rng, data, others)
		}
		spans := values(data[:len(data):len(data)], 0, nil)
		at := spans[rng.IntN(len(spans))]
		pool := []string{`null`, `true`, `0`, `-1`, `1.5e300`, `12345678901234567890123`, `""`, `"jim@example.com"`, `"x"`, `[]`, `{}`, `"e"`, `"event"`, `"properties"`, `"deviceId"`, `"batch"`, `"\ud83d\ude00"`,
			`"https://u:p@x.example/?y=z"`, `4111111111111111`, `["a",1]`, `{"a":{"b":"203.0.113.9"}}`, `"2026-01-15T12:00:00Z"`, `"zone.delete"`, `"Zone.Delete"`, `"` + strings.Repeat("x", 200) + `"`, `[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]`}
		with := []byte(pool[rng.IntN(len(pool))])
		if other := others[rng.IntN(len(others))]; rng.IntN(3) == 0 && len(other) > 0 && endOfValue(other, 0, 1000) == len(other) {
			theirs := values(other[:len(other):len(other)], 0, nil)
			one := theirs[rng.IntN(len(theirs))]
			with = other[one.from:one.to]
		}
		data = slices.Concat(data[:at.from], with, data[at.to:])
		if len(data) > 1<<16 {
			data = data[:1<<16]
		}
	}
	return data
}

// TestMutatedPayloads mutates the requests of these tests, or of SPARROW_TEST_DATA where it is set: 20,000 times, or as
// often as SPARROW_MUTATIONS says.
func TestMutatedPayloads(t *testing.T) {
	var seeds [][]byte
	for _, r := range goldenRequests() {
		seeds = append(seeds, r.Body)
	}
	configs := []*Pipeline{mustPipeline(t, wideConfig), mustPipeline(t, testConfig)}
	if dir := os.Getenv("SPARROW_TEST_DATA"); dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "payloads", "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no payloads in %s: %v", dir, err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			seeds = append(seeds, data[:min(len(data), 1<<15)])
			for line := range bytes.Lines(data) {
				if line = bytes.TrimSpace(line); len(line) > 2 && len(line) < 1<<14 && line[0] == '{' && json.Valid(line) {
					seeds = append(seeds, line)
				}
			}
		}
		for _, set := range []string{"wikiticker", "waves", "readers"} {
			seeds = append(seeds, firstLines(t, filepath.Join(dir, set, "events.ndjson"), 200)...)
		}
		var rows [][]byte
		for _, seed := range seeds {
			rows = append(rows, items(seed)...)
		}
		learnt := Learn(slices.Values(rows), LearnOptions{Sources: map[string]Source{"web": {Keys: []string{"pk_web"}, Origins: []string{"https://www.example.com"}}}})
		p, err := New(Options{Config: learnt.Config, Secret: make([]byte, 16)})
		if err != nil {
			t.Fatal(err)
		}
		configs = append(configs, p)
	}
	n := 20_000
	if text := os.Getenv("SPARROW_MUTATIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	outcomes := map[string]int{}
	for i := range n {
		r := request("")
		if seed := seeds[rng.IntN(len(seeds))]; rng.IntN(3) == 0 {
			r.Body = mutate(rng, seed, seeds)
		} else {
			r.Body = mutateValues(rng, seed, seeds)
		}
		switch rng.IntN(20) {
		case 0:
			r.Query = mutate(rng, r.Query, seeds)
		case 1:
			with(r, "Content-Encoding", []string{"gzip", "deflate", "identity", "br"}[rng.IntN(4)])
		case 2:
			h := r.Headers[rng.IntN(len(r.Headers))]
			h.Value = mutate(rng, h.Value, seeds)
		case 3:
			r.Client = mutate(rng, r.Client, seeds)
		}
		b := checkRequest(t, configs[i%len(configs)], r)
		for _, o := range b.Outcomes {
			outcomes[string(o.Result)+" "+string(o.Reason)]++
		}
	}
	t.Logf("%d mutated payloads: %s", n, fmt.Sprint(outcomes))
	if n >= 20_000 && (outcomes["accepted "] == 0 || len(outcomes) < 12) {
		t.Errorf("the mutations reach too little: %v", outcomes)
	}
}

// items splits a body; nil if it is none.
func items(text []byte) (all [][]byte) {
	var split body.Body
	if body.Split(text, 10_000, &split) != "" {
		return nil
	}
	for _, item := range split.Items {
		all = append(all, item.Data)
	}
	return all
}
