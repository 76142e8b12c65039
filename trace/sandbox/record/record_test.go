package record

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func take(t testing.TB, s *Store, r *Request) *Request {
	t.Helper()
	if r.At.IsZero() {
		r.At = noon
	}
	if err := s.Take(r); err != nil {
		t.Fatal(err)
	}
	return r
}

func delivery(ids ...string) *Request {
	r := &Request{Vendor: "v", Project: "p", Method: "POST", URL: "/x", Status: 200, Body: []byte("body of " + strings.Join(ids, " "))}
	for i, id := range ids {
		r.Events = append(r.Events, Event{Index: i, ID: id, Outcome: Accepted})
	}
	return r
}

func TestIndexCountsLikeAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := newIndex(false)
	want := map[string]uint32{}
	var order []string
	for range 50_000 {
		s := fmt.Sprintf("%d", r.IntN(20_000))
		if r.IntN(100) == 0 {
			s = strings.Repeat(s, 200) // some beyond what is kept whole
		}
		if want[s] == 0 {
			order = append(order, s)
		}
		want[s]++
		if got := x.add(s, 0, true); got != want[s] {
			t.Fatalf("%.20s added %d times, index says %d", s, want[s], got)
		}
	}
	if x.size() != len(want) || x.count("none") != 0 {
		t.Fatalf("%d entries, want %d", x.size(), len(want))
	}
	for i, c := range x.page(0, x.size()) {
		if c.ID != shorten(order[i]) || c.Count != want[order[i]] {
			t.Fatalf("entry %d is %+v, want %.20s %d", i, c, order[i], want[order[i]])
		}
	}
	if got := x.page(x.size()-1, 10); len(got) != 1 {
		t.Errorf("last page: %d", len(got))
	}
}

func TestIDsBeyondTheBoundAreCountedAsSuch(t *testing.T) {
	s := open(t, Options{MaxIDs: 3})
	take(t, s, delivery("a", "b", "c", "d", "a", "e", "d"))
	c, _ := s.Find("v", "p")
	if c.Deliveries != 7 || c.Distinct != 3 || c.Duplicates != 1 || c.Untracked != 3 {
		t.Errorf("%+v", c)
	}
	if st := s.Status(); st.Complete || st.IDs != 3 {
		t.Errorf("an id was left untracked, and status says %+v", st)
	}
	if err := s.Reset(); err != nil || !s.Status().Complete {
		t.Errorf("after a reset: %+v %v", s.Status(), err)
	}
}

func TestOldRequestsAreForgottenCountsStay(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := open(t, Options{Dir: dir, MaxBytes: 1 << 20})
		const n = 2000
		for i := range n {
			r := delivery(fmt.Sprintf("id-%d", i))
			r.Body = bytes.Repeat([]byte("x"), 1000)
			take(t, s, r)
		}
		st := s.Status()
		if st.Bytes > 1<<20 || st.Requests != n || st.Kept >= n || st.Kept < 500 || st.Complete {
			t.Errorf("%+v", st)
		}
		if c, _ := s.Find("v", "p"); c.Distinct != n {
			t.Errorf("%+v", c)
		}
		found, err := s.Search([]string{"xxx"}, 10)
		if err != nil || found.Complete || found.Requests != st.Kept || found.Counts["xxx"] != st.Kept || len(found.Hits) != 10 {
			t.Errorf("search in what is left: %d of %d, %v", found.Requests, st.Kept, err)
		}
		if dir == "" {
			continue
		}
		var size int64
		files, err := filepath.Glob(filepath.Join(dir, "requests-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if size != st.Bytes {
			t.Errorf("%d bytes in files, %d in status", size, st.Bytes)
		}
		// After a restart what is missing still shows.
		s.Close()
		s = open(t, Options{Dir: dir, MaxBytes: 1 << 20})
		if again := s.Status(); again.Requests != n || again.Kept != st.Kept || again.Complete {
			t.Errorf("after a restart: %+v", again)
		}
	}
}

func TestLinesSurvive(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	requests := []*Request{
		{Vendor: "v", Project: "p", Method: "POST", URL: "/a?b=" + `"\`, Host: "h", Header: http.Header{"X-A": {"1", "é\t"}, "X-B": {}}, Body: []byte("line\nline \"\\\x01 語"), Status: 204},
		{Vendor: "v", Project: "q", Method: "GET", URL: "/", Status: 0, Fault: "f", Unacknowledged: true, Check: true, Messages: []string{"A", "B"}, Header: http.Header{}, Body: []byte{}},
		{Vendor: "w", Project: "p", Method: "POST", URL: "/", Header: http.Header{}, Body: []byte{0xff, 0, 0xfe}, Events: []Event{
			{Index: 0, ID: "i", Name: "n", Outcome: Accepted, Visible: RealtimeOnly, Ignored: []string{"x", "y"}, Key: "k\x00l"},
			{Index: 1, Outcome: Dropped, Reason: "r"},
		}},
		{Vendor: "w", Project: "p", Method: "POST", URL: "/", Header: http.Header{}, Body: bytes.Repeat([]byte("long "), 1<<20)},
		delivery("z"),
	}
	for _, r := range requests {
		if r.Header == nil {
			r.Header = http.Header{}
		}
		take(t, s, r)
	}
	var got []*Request
	if err := s.Requests(func(r *Request) bool { got = append(got, r); return true }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(requests, got, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Errorf("(-taken +read):\n%.2000s", diff)
	}
	n := 0
	if err := s.Requests(func(*Request) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("stopping early: %d %v", n, err)
	}
}

func TestReplayRefusesAForeignFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"requests-000000000001.ndjson": "not a line\n", "requests-x.ndjson": ""} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(Options{Dir: dir}); err == nil {
			s.Close()
			t.Errorf("%s was taken for a log", name)
		} else if !strings.Contains(err.Error(), "move") {
			t.Errorf("%v does not say what to do", err)
		}
		os.Remove(path)
	}
}

func TestFolderIsClosedToOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Dir: dir})
	take(t, s, delivery("a"))
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("v", "/x?y", "X-A", "b", []byte("body"), "id", "reason")
	f.Add("\"\\", "\n", "\x00", "\t", []byte{0xff}, "語", "\u2028")
	f.Fuzz(func(t *testing.T, vendor, url, name, value string, body []byte, id, reason string) {
		r := &Request{At: noon, Vendor: vendor, URL: url, Header: http.Header{name: {value}}, Body: body, Events: []Event{{ID: id, Outcome: Dropped, Reason: reason}}}
		text := append([]byte(`{"seq":7`), appendRequest(nil, r)...)
		if bytes.IndexByte(text, '\n') >= 0 {
			t.Fatalf("a line of two: %q", text)
		}
		got, err := readLine(text)
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		if !bytes.Equal(got.Body, body) {
			t.Fatalf("body %q became %q", body, got.Body)
		}
		if len(got.Events) != 1 || got.Seq != 7 {
			t.Fatalf("%+v", got)
		}
		head, err := readHead(text)
		if err != nil || !cmp.Equal(got.Events, head.Events) || head.Vendor != got.Vendor || len(head.Body) > 0 {
			t.Fatalf("counted from %q: %+v %v", text, head, err)
		}
		for _, text := range []string{string(body), url, value} {
			if text != "" && got.where([]byte(text)) == "" && strings.ToValidUTF8(text, "") == text {
				t.Fatalf("%q is not found in its own request", text)
			}
		}
	})
}

func FuzzReadings(f *testing.F) {
	f.Add([]byte(`a\u0041\ud83d\ude00\\u00%41+%`))
	f.Add([]byte(`\`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, form := range readings(b) {
			if len(form) > len(b)*4 {
				t.Fatalf("%d bytes read as %d", len(b), len(form))
			}
		}
	})
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte(`{"seq":1,"at":1,"vendor":"v","body64":"AA=="}`))
	f.Fuzz(func(t *testing.T, b []byte) { readLine(b) })
}

func BenchmarkTake(b *testing.B) {
	for _, mode := range []string{"memory", "folder"} {
		b.Run(mode, func(b *testing.B) {
			o := Options{MaxIDs: 1 << 30}
			if mode == "folder" {
				o.Dir = b.TempDir()
			}
			s := open(b, o)
			const batch = 25
			body := bytes.Repeat([]byte(`{"name":"zone_delete","params":{"event_id":"0190b3a2-7c1e-7abc-8def-000000000001","session_id":"1","a":"b"}},`), batch)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				r := &Request{At: noon, Vendor: "v", Project: "p", Method: "POST", URL: "/x", Status: 204, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}
				for i := range batch {
					n++
					r.Events = append(r.Events, Event{Index: i, ID: fmt.Sprintf("0190b3a2-7c1e-7abc-8def-%012d", n), Name: "zone_delete", Outcome: Accepted})
				}
				if err := s.Take(r); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkSearch(b *testing.B) {
	s := open(b, Options{MaxBytes: 1 << 30})
	for i := range 20_000 {
		r := delivery(fmt.Sprintf("id-%d", i))
		r.Body = bytes.Repeat([]byte(`{"name":"zone_delete","url":"https://x.example/?a=%20b"},`), 20)
		take(b, s, r)
	}
	b.SetBytes(s.Status().Bytes)
	for b.Loop() {
		if f, err := s.Search([]string{"planted-one", "planted two", "planted@three"}, 10); err != nil || len(f.Hits) != 0 {
			b.Fatal(f, err)
		}
	}
}
