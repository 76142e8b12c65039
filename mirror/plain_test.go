package mirror

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// reference is net/http's server, which says what a connection's bytes mean.
type reference struct {
	server *http.Server
	conns  chan net.Conn
	seen   chan understood
}

// understood is a request as a handler sees it.
type understood struct {
	Method, Path, Query string
	Header              http.Header
	Body                []byte
	Close               bool
}

func newReference(t testing.TB) *reference {
	j := &reference{conns: make(chan net.Conn), seen: make(chan understood, 16)}
	j.server = &http.Server{ReadTimeout: 10 * time.Second, DisableGeneralOptionsHandler: true, ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		j.seen <- understood{r.Method, r.URL.Path, r.URL.RawQuery, r.Header, body, r.Close}
		w.WriteHeader(http.StatusNoContent)
	})}
	done := make(chan struct{})
	go func() { j.server.Serve(j); close(done) }()
	t.Cleanup(func() { close(j.conns); j.server.Close(); <-done })
	return j
}

func (j *reference) Accept() (net.Conn, error) {
	if c, ok := <-j.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (j *reference) Close() error   { return nil }
func (j *reference) Addr() net.Addr { return &net.TCPAddr{} }

// ask returns the requests that text consists of. The last one must close the connection.
func (j *reference) ask(text []byte) (requests []understood) {
	client, server := net.Pipe()
	j.conns <- server
	go client.Write(text)
	io.Copy(io.Discard, client)
	client.Close()
	for {
		select {
		case r := <-j.seen:
			requests = append(requests, r)
		default:
			return requests
		}
	}
}

const lastRequest = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// agrees fails if data begins with what is taken for a plain request, and net/http reads something else there. It reports
// whether there was one.
func (j *reference) agrees(t testing.TB, data []byte) bool {
	t.Helper()
	var p plainRequest
	if p.read(data, frontBuffer) != nil {
		return false
	}
	got := understood{Method: http.MethodOptions, Path: "/v1/events", Query: string(p.query), Header: http.Header{}, Body: bytes.Clone(p.body), Close: p.close}
	if got.Body == nil {
		got.Body = []byte{}
	}
	if p.post {
		got.Method = http.MethodPost
	}
	for _, h := range p.headers[:p.count] {
		if !same(h.name, "Host") {
			got.Header.Add(string(h.name), string(h.value))
		}
	}
	lines := 0
	for _, values := range got.Header {
		lines += len(values)
	}
	if lines != p.lines {
		t.Errorf("%q has %d header lines, counted %d", data[:p.size], lines, p.lines)
	}
	want := []understood{got}
	if !p.close { // so that a body of another length shows
		want = append(want, understood{Method: "GET", Path: "/last", Header: http.Header{"Connection": {"close"}}, Body: []byte{}, Close: true})
	}
	if diff := cmp.Diff(want, j.ask(append(bytes.Clone(data[:p.size]), lastRequest...))); diff != "" {
		t.Errorf("%q: taken for a plain request, but net/http reads (- ours, + net/http's):\n%s", data[:p.size], diff)
	}
	return true
}

var plainSeeds = []string{
	string(rawRequest("example.org:8080")),
	post1("Content-Length: 2\r\n", "{}"),
	post1("content-length:7\r\nConnection: close\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nx-forwarded-for: 9.9.9.9\r\n", "[1,2,3]"),
	post1("Content-Length: 0003\r\nCookie: a=\"b\"; c=\xc3\xbc\r\nConnection: Keep-Alive\r\n", "abc") + post1("Content-Length: 2\r\n", "{}"),
	"OPTIONS /v1/events HTTP/1.1\r\nHost: [::1]:80\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n\r\n",
	"OPTIONS /v1/events?a=%20&b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
}

// fragments are what requests are smuggled with.
var fragments = []string{"\r\n", "\n", "\r", "\t", " ", ":", "\x00", "\x7f", "#", "?", "%zz", "\r\n ", "\r\n\r\n", "Content-Length: 3\r\n", "content-length : 3\r\n", "Transfer-Encoding: chunked\r\n",
	"transfer-encoding:identity\r\n", "Host: y\r\n", "Host:\r\n", "Expect: 100-continue\r\n", "Connection: upgrade\r\n", "Connection: close, x\r\n", "Upgrade: h2c\r\n", "Trailer: X\r\n", ",", "+", "1", "0", "-", " HTTP/1.0", "é"}

// What is taken for a plain request is, byte for byte, what net/http makes of it, however requests are mangled.
func TestPlainIsWhatNetHTTPReads(t *testing.T) {
	j := newReference(t)
	for _, seed := range plainSeeds {
		if !j.agrees(t, []byte(seed)) {
			t.Errorf("not a plain request: %q", seed)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	tried, taken := 8000, 0
	for range tried {
		data := []byte(plainSeeds[r.IntN(len(plainSeeds))])
		for range 1 + r.IntN(3) {
			at := r.IntN(len(data))
			switch r.IntN(4) {
			case 0:
				data[at] = byte(r.UintN(256))
			case 1:
				data = slices.Insert(data, at, []byte(fragments[r.IntN(len(fragments))])...)
			case 2:
				data = slices.Delete(data, at, min(len(data), at+1+r.IntN(4)))
			case 3: // at the beginning of a line
				if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
					data = slices.Insert(data, at+n+1, []byte(fragments[r.IntN(len(fragments))])...)
				}
			}
			if len(data) == 0 {
				data = []byte("x")
			}
		}
		if j.agrees(t, data) {
			taken++
		}
		if t.Failed() {
			return
		}
	}
	if taken < tried/20 || taken > tried*19/20 {
		t.Errorf("%d of %d were taken: the test shows little", taken, tried)
	}
}

// A request that arrives in pieces is never judged by a piece.
func TestPlainInPieces(t *testing.T) {
	for _, seed := range plainSeeds {
		var whole, part plainRequest
		if err := whole.read([]byte(seed), frontBuffer); err != nil {
			t.Fatal(err)
		}
		for n := 1; n < whole.size; n++ {
			if err := part.read([]byte(seed[:n]), frontBuffer); err != errMore {
				t.Fatalf("%q: %v", seed[:n], err)
			}
		}
	}
}

// What cannot be read in one way only, or is not for the front, goes to net/http.
func TestOddRequests(t *testing.T) {
	odd := map[string]string{
		"a coding":              post1("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
		"a coding and a length": post1("Content-Length: 2\r\ntransfer-encoding: chunked\r\n", "{}"),
		"two lengths":           post1("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
		"a list of lengths":     post1("Content-Length: 2, 2\r\n", "{}"),
		"a signed length":       post1("Content-Length: +2\r\n", "{}"),
		"no length":             post1("", ""),
		"no body":               post1("Content-Length: 0\r\n", ""),
		"larger than may be":    post1("Content-Length: 9000\r\n", ""),
		"an expectation":        post1("Content-Length: 2\r\nExpect: 100-continue\r\n", "{}"),
		"an upgrade":            post1("Content-Length: 2\r\nUpgrade: h2c\r\n", "{}"),
		"options of connection": post1("Content-Length: 2\r\nConnection: X\r\n", "{}"),
		"two hosts":             post1("Content-Length: 2\r\nHost: y\r\n", "{}"),
		"no host":               "POST /v1/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
		"a line that goes on":   post1("X: a\r\n b\r\nContent-Length: 2\r\n", "{}"),
		"a bare line feed":      post1("X: a\nContent-Length: 2\r\n", "{}"),
		"a space before colon":  post1("Content-Length : 2\r\n", "{}"),
		"HTTP/1.0":              "POST /v1/events HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"another path":          "POST /v1/eventsx HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"another method":        "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
		"an empty line first":   "\r\n" + post1("Content-Length: 2\r\n", "{}"),
		"TLS":                   "\x16\x03\x01",
	}
	for _, name := range slices.Sorted(maps.Keys(odd)) {
		if err := new(plainRequest).read([]byte(odd[name]), frontBuffer); err != errOdd {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, seed := range plainSeeds {
		f.Add([]byte(seed))
	}
	j := newReference(f)
	f.Fuzz(func(t *testing.T, data []byte) { j.agrees(t, data) })
}

// answersOf reads n answers, or as many as come.
func answersOf(t testing.TB, in *bufio.Reader, n int) (answers []*http.Response) {
	t.Helper()
	for range n {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return answers
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return answers
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		answers = append(answers, resp)
	}
	return answers
}
