package dispatcher_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// rowsOf sends one request through a real dispatcher and returns its rows.
func rowsOf(t testing.TB, r *event.Request) []warehouse.Row {
	t.Helper()
	m := newMemory()
	start(t, options(m)).sendWhole(delivery(frame(t, 1, r)))
	return m.raw()
}

// line is a row, to be read in tables: eventId's suffix, event, data, itemsInRequest.
func line(r warehouse.Row) string {
	id := strings.TrimPrefix(r.EventID, requestID(1).String())
	return fmt.Sprintf("%d%s|%s|%s|%d", r.Item, id, r.Event, r.Data, r.ItemsInRequest)
}

func rejected(t testing.TB, r warehouse.Row) string {
	t.Helper()
	var c struct {
		Rejected string `json:"rejected"`
	}
	if err := json.Unmarshal(r.Context, &c); err != nil {
		t.Fatalf("context %s: %v", r.Context, err)
	}
	return c.Rejected
}

func TestRowsOfEveryKindOfBody(t *testing.T) {
	big := `{"event":"` + strings.Repeat("x", 8<<20) + `"}`
	for _, row := range []struct {
		what     string
		body     string
		headers  []string
		want     []string
		rejected string
	}{
		{"one event", ` {"event":"pageview"}` + "\n", nil, []string{`0|pageview|{"event":"pageview"}|1`}, ""},
		{"an array", `[{"event":"a"}, 7]`, nil, []string{`0-0|a|{"event":"a"}|2`, `1-1||7|2`}, ""},
		{"an array of one", `[{"event":"a"}]`, nil, []string{`0-0|a|{"event":"a"}|1`}, ""},
		{"a batch", `{"batch":[{"event":"a"},{"event":"b"}]}`, nil, []string{`0-0|a|{"event":"a"}|2`, `1-1|b|{"event":"b"}|2`}, ""},
		{"an empty array", " [ ]\n", nil, []string{`0||[ ]|0`}, ""},
		{"an empty batch", `{"batch":[],"x":1}`, nil, []string{`0||{"batch":[],"x":1}|0`}, ""},
		{"a name that is no string", `{"event":{"a":1}}`, nil, []string{`0||{"event":{"a":1}}|1`}, ""},
		{"a very long name", `{"event":"` + strings.Repeat("€", 400) + `"}`, nil, []string{"0|" + strings.Repeat("€", 341) + `|{"event":"` + strings.Repeat("€", 400) + `"}|1`}, ""},
		{"bytes that are not UTF-8", "{\"event\":\"\xff\"}", nil, []string{"0|\uFFFD|{\"event\":\"\xff\"}|1"}, ""},
		{"nothing", "", nil, []string{`0|||1`}, "not json"},
		{"text", "plain \xff\x00 text ", nil, []string{"0||plain \xff\x00 text |1"}, "not json"},
		{"lines of JSON", "{}\n{}\n", nil, []string{"0||{}\n{}\n|1"}, "not json"},
		{"gzip", string(gzipped(t, []byte(`{"event":"a"}`))), []string{"Content-Encoding", "gzip"}, []string{`0|a|{"event":"a"}|1`}, ""},
		{"gzip, the header spelt otherwise", string(gzipped(t, []byte(`[1]`))), []string{"content-encoding", "X-GZIP"}, []string{`0-0||1|1`}, ""},
		{"gzip twice, in two headers", string(gzipped(t, gzipped(t, []byte(`[1]`)))), []string{"Content-Encoding", "gzip", "Content-Encoding", "gzip"}, []string{`0-0||1|1`}, ""},
		{"said to be gzip", `{"event":"a"}`, []string{"Content-Encoding", "gzip"}, []string{`0||{"event":"a"}|1`}, "undecodable"},
		{"an encoding nobody knows", `{"event":"a"}`, []string{"Content-Encoding", "br"}, []string{`0||{"event":"a"}|1`}, "unknown encoding"},
		{"too large", big, nil, []string{"0||" + big + "|1"}, "too large"},
		{"too large once decoded", string(gzipped(t, []byte(big))), []string{"Content-Encoding", "gzip"}, []string{"0||" + string(gzipped(t, []byte(big))) + "|1"}, "too large"},
		{"too many", "[" + strings.Repeat("1,", 10_000) + "1]", nil, []string{"0||[" + strings.Repeat("1,", 10_000) + "1]|1"}, "too many items"},
		{"too deep", strings.Repeat("[", 20_000), nil, []string{"0||" + strings.Repeat("[", 20_000) + "|1"}, "too deep"},
	} {
		t.Run(row.what, func(t *testing.T) {
			r := request(1, []byte(row.body), row.headers...)
			rows := rowsOf(t, r)
			var got []string
			for _, r := range rows {
				got = append(got, line(r))
				if r.Frame != 1 || r.Request != 0 || r.Timestamp != 1700000000000001 || r.Build != build.ID {
					t.Errorf("row %+v", r)
				}
				if why := rejected(t, r); why != row.rejected {
					t.Errorf("rejected: %q, want %q", why, row.rejected)
				}
				if !utf8.ValidString(r.Event) || !utf8.Valid(r.Context) {
					t.Errorf("event %q or context %q is not UTF-8", r.Event, r.Context)
				}
			}
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("rows %.300q, want %.300q", got, row.want)
			}
		})
	}
}

func TestAsManyItemsAsAllowed(t *testing.T) {
	rows := rowsOf(t, request(1, []byte("["+strings.Repeat("1,", 9_999)+"1]")))
	if len(rows) != 10_000 || rows[9_999].EventID != requestID(1).String()+"-9999" || rows[0].ItemsInRequest != 10_000 {
		t.Errorf("%d rows", len(rows))
	}
}

func TestContext(t *testing.T) {
	const long = "äbcdefgh"
	for _, row := range []struct {
		what   string
		change func(*event.Request)
		want   string
	}{
		{"nothing to say", func(r *event.Request) { r.Query, r.Client = nil, nil }, `{}`},
		{"what a browser sends", func(r *event.Request) {
			r.Headers = request(1, nil, "Origin", "https://example.com", "User-Agent", `Mozilla/5.0 "x" \`, "Accept-Language", "de-DE,de;q=0.9",
				"Referer", "https://example.com/a?b=c", "Content-Type", "text/plain;charset=UTF-8", "Sec-GPC", "1", "DNT", "1").Headers
		}, `{"writeKey":"dev","origin":"https://example.com","userAgent":"Mozilla/5.0 \"x\" \\","language":"de-DE,de;q=0.9",` +
			`"referrer":"https://example.com/a?b=c","contentType":"text/plain;charset=UTF-8","address":"203.0.113.0","privacy":{"gpc":true,"dnt":true}}`},
		{"an encoding", func(r *event.Request) {
			r.Headers = request(1, nil, "Content-Encoding", "identity", "content-encoding", "").Headers
		}, `{"writeKey":"dev","contentEncoding":"identity, ","address":"203.0.113.0"}`},
		{"privacy not asked for", func(r *event.Request) { r.Headers = request(1, nil, "Sec-GPC", "0", "DNT", "null").Headers },
			`{"writeKey":"dev","address":"203.0.113.0"}`},
		{"do not track", func(r *event.Request) { r.Headers = request(1, nil, "dnt", "1").Headers },
			`{"writeKey":"dev","address":"203.0.113.0","privacy":{"dnt":true}}`},
		{"another method and path", func(r *event.Request) { r.Method, r.Path = []byte("PUT"), []byte("/v1/events/%7Bx%7D") },
			`{"writeKey":"dev","address":"203.0.113.0","method":"PUT","path":"/v1/events/%7Bx%7D"}`},
		{"cookies and credentials, should they ever be journaled", func(r *event.Request) {
			r.Headers = request(1, nil, "Cookie", "session=1", "Authorization", "Basic x", "Set-Cookie", "a=b", "X-Forwarded-For", "203.0.113.77").Headers
		}, `{"writeKey":"dev","address":"203.0.113.0"}`},
		{"a write key that is escaped", func(r *event.Request) { r.Query = []byte("a=b&k=%41+b%22&k=other") }, `{"writeKey":"A b\"","address":"203.0.113.0"}`},
		{"a write key that is escaped badly", func(r *event.Request) { r.Query = []byte("k=%zz") }, `{"writeKey":"%zz","address":"203.0.113.0"}`},
		{"no write key", func(r *event.Request) { r.Query = []byte("kk=1&&k&=x") }, `{"address":"203.0.113.0"}`},
		{"bytes of all kinds", func(r *event.Request) { r.Query = []byte("k=\x00\x1f\n\x7f\xff\xc3(€😀<>&") },
			`{"writeKey":"\u0000\u001f\u000a` + "\x7f\uFFFD\uFFFD(€😀<>" + `","address":"203.0.113.0"}`},
		{"values too long, cut at a character", func(r *event.Request) {
			r.Query = []byte("k=" + strings.Repeat(long, 20)) // 180 bytes
			r.Headers = request(1, nil, "User-Agent", strings.Repeat("€", 400)).Headers
		}, `{"writeKey":"` + strings.Repeat(long, 14) + `ä","userAgent":"` + strings.Repeat("€", 170) + `","address":"203.0.113.0"}`},
		{"values that grow as they are written", func(r *event.Request) {
			r.Query = []byte("k=" + strings.Repeat("\x01", 100))
			r.Headers = request(1, nil, "Origin", strings.Repeat("\xff", 200), "Accept-Language", strings.Repeat(`"`, 127)).Headers
		}, `{"writeKey":"` + strings.Repeat(`\u0001`, 21) + `","origin":"` + strings.Repeat("\uFFFD", 85) + `","language":"` + strings.Repeat(`\"`, 64) + `","address":"203.0.113.0"}`},
		{"IPv6", func(r *event.Request) { r.Client = []byte("2001:db8:1:2:3::4") }, `{"writeKey":"dev","address":"2001:db8:1::"}`},
		{"IPv6 with a zone", func(r *event.Request) { r.Client = []byte("fe80:1:2:3::4%eth0") }, `{"writeKey":"dev","address":"fe80:1:2::"}`},
		{"IPv4 in IPv6", func(r *event.Request) { r.Client = []byte("::ffff:203.0.113.77") }, `{"writeKey":"dev","address":"203.0.113.0"}`},
		{"no address", func(r *event.Request) { r.Client = []byte("unknown") }, `{"writeKey":"dev"}`},
		{"a body that is rejected", func(r *event.Request) { r.Body = []byte("x") }, `{"writeKey":"dev","address":"203.0.113.0","rejected":"not json"}`},
		{"a pixel", func(r *event.Request) {
			r.Method, r.Path, r.Query, r.Body = []byte("GET"), []byte("/collect"), []byte("k=dev&en=view&dl=%2F\"x"), nil
		}, `{"writeKey":"dev","address":"203.0.113.0","method":"GET","path":"/collect","query":"k=dev&en=view&dl=%2F\"x","rejected":"not json"}`},
		{"an envelope", func(r *event.Request) { r.Body = []byte("{\"sentAt\" : 1.50,\"batch\":[1],\"n\":\"\xff<\"}") },
			`{"writeKey":"dev","address":"203.0.113.0","envelope":{"sentAt" : 1.50,"n":"` + "\uFFFD<" + `"}}`},
	} {
		r := request(1, []byte(`{"event":"a"}`))
		row.change(r)
		rows := rowsOf(t, r)
		if got := string(rows[0].Context); got != row.want {
			t.Errorf("%s:\n%s, want\n%s", row.what, got, row.want)
		}
		if !json.Valid(rows[0].Context) {
			t.Errorf("%s: context %q is not JSON", row.what, rows[0].Context)
		}
	}
}

// An envelope goes with every row, unless that would be much.
func TestEnvelopeIsRepeatedOnlyWhileShort(t *testing.T) {
	for _, row := range []struct {
		bytes, items int
		everywhere   bool
	}{{4096, 2, true}, {4097, 2, false}, {4096, 64, true}, {4096, 65, false}, {30, 8000, true}, {33, 8000, false}, {1 << 20, 1, true}} {
		envelope := `{"x":"` + strings.Repeat("y", row.bytes-8) + `"}`
		rows := rowsOf(t, request(1, []byte(envelope[:len(envelope)-1]+`,"batch":[`+strings.Repeat("1,", row.items-1)+`1]}`)))
		if len(rows) != row.items || !bytes.HasSuffix(rows[0].Context, []byte(`,"envelope":`+envelope+`}`)) {
			t.Fatalf("%+v: %d rows, context of item 0: %.200s", row, len(rows), rows[0].Context)
		}
		for _, r := range rows[1:] {
			if got := bytes.Contains(r.Context, []byte("envelope")); got != row.everywhere {
				t.Fatalf("%+v: envelope with item %d: %v", row, r.Item, got)
			}
		}
	}
}

// expect says with encoding/json what rows become of a body: data, and whether it is a list. No data: not JSON.
func expect(t testing.TB, text []byte) (items [][]byte, list bool) {
	t.Helper()
	if !json.Valid(text) {
		return nil, false
	}
	array := text
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) == nil && members["batch"] != nil {
		array = members["batch"]
	}
	var elements []json.RawMessage
	if !bytes.HasPrefix(bytes.TrimSpace(array), []byte("[")) || json.Unmarshal(array, &elements) != nil {
		return [][]byte{bytes.Trim(text, " \t\r\n")}, false
	}
	for _, e := range elements {
		items = append(items, e)
	}
	return items, true
}

// payloads are real bodies of other SDKs, and our own few where those are not at hand.
func payloads(t testing.TB) map[string][]byte {
	all := map[string][]byte{
		"own event": []byte(`{"event":"pageview","deviceId":"d","properties":{"pathname":"/","n":1.0e2}}`),
		"own batch": []byte(`{"sentAt":1,"batch":[{"event":"a"},{"event":"é"}],"context":{}}`),
		"own array": []byte("[{\"event\":\"a\"},\n{\"event\":\"b\\u0000\"}]"),
		"own lines": []byte("{\"event\":\"a\"}\n{\"event\":\"b\"}\n"),
	}
	root := os.Getenv("SPARROW_TEST_DATA")
	if root == "" {
		return all
	}
	files, err := filepath.Glob(filepath.Join(root, "payloads", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("SPARROW_TEST_DATA=%s: no payloads: %v", root, err)
	}
	for _, f := range files {
		if all[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Promise 5: whatever the body, what is stored is its exact slices; and where it cannot be split, the bytes as received.
func TestRealPayloadsAreStoredExactly(t *testing.T) {
	with := func(text []byte, at int, insert string) []byte {
		return append(append(bytes.Clone(text[:at]), insert...), text[at:]...)
	}
	var requests []*event.Request
	var decoded [][]byte // what each body is once decoded; nil: it cannot be
	var names []string
	add := func(name string, sent, plain []byte, headers ...string) {
		requests = append(requests, request(len(requests), sent, headers...))
		decoded, names = append(decoded, plain), append(names, name)
	}
	for name, text := range payloads(t) {
		packed := gzipped(t, text)
		middle := len(text) / 2
		inString := bytes.LastIndexByte(text[:middle+1], '"') + 1
		add(name, text, text)
		add(name+", gzipped", packed, text, "Content-Encoding", "gzip")
		add(name+", cut short", text[:len(text)-1-middle/2], text[:len(text)-1-middle/2])
		add(name+", gzipped and cut short", packed[:len(packed)/2], nil, "Content-Encoding", "gzip")
		add(name+", with NUL", with(text, middle, "\x00"), with(text, middle, "\x00"))
		add(name+", with NUL at the end", append(bytes.Clone(text), 0), append(bytes.Clone(text), 0))
		add(name+", with invalid UTF-8", with(text, inString, "\xff\xfe\xc3("), with(text, inString, "\xff\xfe\xc3("))
		add(name+", with invalid UTF-8, gzipped", gzipped(t, with(text, inString, "\xed\xa0\x80")), with(text, inString, "\xed\xa0\x80"), "Content-Encoding", "gzip")
	}

	m := newMemory()
	s := start(t, options(m))
	const perFrame = 37
	var frames []*event.DeliveredFrame
	for i := 0; i < len(requests); i += perFrame {
		frames = append(frames, frame(t, uint64(1+len(frames)), requests[i:min(i+perFrame, len(requests))]...))
	}
	s.sendWhole(delivery(frames...))

	rows := m.raw()
	split := 0
	for i, r := range requests {
		var items [][]byte
		list := false
		if decoded[i] != nil {
			items, list = expect(t, decoded[i])
		}
		id := requestID(i)
		position := event.Position{Frame: uint64(1 + i/perFrame), Request: uint32(i % perFrame)}
		want := []warehouse.Row{{Position: position, EventID: id.String(), Data: r.Body, ItemsInRequest: 1}}
		why := "not json"
		switch {
		case decoded[i] == nil:
			why = "undecodable"
		case list && len(items) == 0:
			want[0].Data, want[0].ItemsInRequest, why = bytes.TrimSpace(decoded[i]), 0, ""
		case len(items) > 0:
			want, why = nil, ""
			for k, data := range items {
				position.Item = uint32(k)
				want = append(want, warehouse.Row{Position: position, EventID: event.ID(id, uint32(k), list), Data: data, ItemsInRequest: uint32(len(items))})
			}
			split += len(items)
		}
		for _, w := range want {
			if len(rows) == 0 {
				t.Fatalf("%s: no more rows", names[i])
			}
			got := rows[0]
			rows = rows[1:]
			if got.Position != w.Position || got.EventID != w.EventID || !bytes.Equal(got.Data, w.Data) || got.ItemsInRequest != w.ItemsInRequest || got.Timestamp != r.ReceivedAt {
				t.Fatalf("%s: row %v %s of %d items: %.200q; want %v %s of %d: %.200q",
					names[i], got.Position, got.EventID, got.ItemsInRequest, got.Data, w.Position, w.EventID, w.ItemsInRequest, w.Data)
			}
			if reason := rejected(t, got); reason != why {
				t.Fatalf("%s: rejected %q, want %q", names[i], reason, why)
			}
		}
	}
	if len(rows) > 0 {
		t.Errorf("%d rows too many", len(rows))
	}
	if split < len(requests)/3 {
		t.Errorf("only %d events in %d requests: the bodies exercise nothing", split, len(requests))
	}
}

// Equal builds write equal rows, in whatever portions the frames came.
func TestTwoRunsGiveIdenticalRows(t *testing.T) {
	var frames []*event.DeliveredFrame
	n := 0
	for name, text := range payloads(t) {
		frames = append(frames, frame(t, uint64(len(frames)+1), request(n, text, "User-Agent", name), request(n+1, gzipped(t, text), "Content-Encoding", "gzip")))
		n += 2
	}
	var runs [][]warehouse.Row
	for _, appendBytes := range []int{0, 1, 5000} {
		m := newMemory()
		o := options(m)
		o.MaxAppendBytes = appendBytes
		s := start(t, o)
		if appendBytes == 0 {
			s.sendWhole(delivery(frames...))
		} else {
			for _, f := range frames {
				s.sendWhole(delivery(f))
			}
		}
		runs = append(runs, m.raw())
	}
	for _, run := range runs[1:] {
		if len(run) != len(runs[0]) {
			t.Fatalf("%d rows, then %d", len(runs[0]), len(run))
		}
		for i := range run {
			if !reflect.DeepEqual(runs[0][i], run[i]) {
				t.Fatal(cmp.Diff(runs[0][i], run[i]))
			}
		}
	}
}

func TestBuildID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparrow")
	if err := os.WriteFile(path, []byte("binary"), 0o700); err != nil {
		t.Fatal(err)
	}
	var o dispatcher.Options
	green, err := dispatcher.BuildID(path, o.Pipeline(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	o.MaxItems, o.MaxDecodedBytes = 10_000, 8<<20 // the defaults, said aloud
	o.Stack, o.MaxAppendRows = event.Blue, 7      // no part of the pipeline
	blue, err := dispatcher.BuildID(path, o.Pipeline(), "v1")
	if err != nil || green != blue {
		t.Errorf("green %v, blue %v, %v", green, blue, err)
	}
	o.MaxItems = 10_001
	if other, err := dispatcher.BuildID(path, o.Pipeline(), "v1"); err != nil || other.ID == green.ID {
		t.Errorf("another pipeline: %v, %v", other, err)
	}
	if _, err := dispatcher.BuildID(path+"x", nil, ""); err == nil {
		t.Error("a binary that is not there has an id")
	}
}
