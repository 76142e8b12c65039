package mirror

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sparrowhq/sparrow/event"
)

// frontAlone serves the mirror's intake at another address, where nothing takes over what the front leaves to net/http.
func frontAlone(b *bench) string {
	l := newLimited(localListener(b.t), 100, false, func() {}, func(string) {})
	f := newFront(l, b.mirror.intake, b.mirror.intake.rules.Load().options)
	b.t.Cleanup(func() {
		f.Close()
		f.cut()
		f.wait()
	})
	return l.Addr().String()
}

// netHTTPAlone serves it at another where there is no front.
func netHTTPAlone(b *bench) string {
	l := localListener(b.t)
	server := &http.Server{Handler: b.mirror.intake, ErrorLog: quiet}
	go server.Serve(l)
	b.t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// exchange sends text in one piece, and returns n answers, without what differs from request to request.
func exchange(t testing.TB, addr, text string, n int) (answers []string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(c, text)
	in := bufio.NewReader(c)
	for _, a := range answersOf(t, in, n) {
		if _, err := time.Parse(http.TimeFormat, a.Header.Get("Date")); err != nil {
			t.Errorf("Date: %v", err)
		}
		a.Header.Set("Date", "now")
		if id := a.Header.Get("Sparrow-Request-Id"); id != "" {
			a.Header.Set("Sparrow-Request-Id", fmt.Sprint(len(id)))
		}
		body, _ := io.ReadAll(a.Body)
		answers = append(answers, fmt.Sprint(a.Proto, " ", a.Status, " ", a.Header, a.ContentLength, a.TransferEncoding, " ", a.Close, " ", string(body)))
		if a.Close {
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("after the last answer: %v", err)
			}
		}
	}
	return answers
}

// The front answers and journals exactly what net/http and the intake's handler would have.
func TestFrontIsAsNetHTTP(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.Origins = []string{"https://a.example", "http://localhost:*"}
		o.Intake.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		o.Intake.MaxHeaders = 30
		o.Intake.Rate = RateOptions{PerSecond: 1, Burst: 2}
	})
	front, plain := frontAlone(b), netHTTPAlone(b)
	client := 0
	from := func() string { // the rate limit is for each
		client++
		return fmt.Sprintf("X-Forwarded-For: 10.0.%d.%d\r\n", client/200, client%200)
	}
	cases := map[string]struct {
		text     func() string
		answers  int
		accepted int
	}{
		"an event": {func() string { return post1(from()+"Content-Length: 2\r\n", "{}") }, 1, 1},
		"no query": {func() string {
			return "POST /v1/events HTTP/1.1\r\nhost: x\r\n" + from() + "content-length: 2\r\n\r\n{}"
		}, 1, 1},
		"a page's":       {func() string { return post1(from()+"Origin: https://a.example\r\nContent-Length: 2\r\n", "{}") }, 1, 1},
		"another page's": {func() string { return post1(from()+"Origin: https://b.example\r\nContent-Length: 2\r\n", "{}") }, 1, 1},
		"two origins": {func() string {
			return post1(from()+strings.Repeat("Origin: https://a.example\r\n", 2)+"Content-Length: 2\r\n", "{}")
		}, 1, 1},
		"the last": {func() string { return post1(from()+"Connection: close\r\nContent-Length: 2\r\n", "{}") }, 1, 1},
		"headers to journal": {func() string {
			return post1(from()+"uSER-aGENT:  a b \r\nDNT: 1\r\nReferer: "+strings.Repeat("r", 2000)+"\r\nCookie: c\r\n"+strings.Repeat("Dnt: 2\r\n", 9)+"Content-Length: 5\r\n", "\x00\r\n\xff1")
		}, 1, 1},
		"proxies": {func() string {
			return post1("X-Forwarded-For: 1.2.3.4\r\n"+from()+"x-forwarded-for: 127.0.0.9\r\nContent-Length: 2\r\n", "{}")
		}, 1, 1},
		"three at once": {func() string {
			one := post1(from()+"Content-Length: 2\r\n", "{}")
			return one + "\r\n" + one + "\r\n\r\n" + one
		}, 3, 2},
		"a preflight": {func() string {
			return "OPTIONS /v1/events HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n\r\n"
		}, 1, 0},
		"a preflight, the last": {func() string {
			return "OPTIONS /v1/events HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:81\r\nConnection: close\r\n\r\n"
		}, 1, 0},
		"too many headers": {func() string { return post1(from()+strings.Repeat("X: y\r\n", 29)+"Content-Length: 2\r\n", "{}") }, 1, 0},
	}
	accepted := 0
	for name, tt := range cases {
		text := tt.text()
		want := exchange(t, plain, text, tt.answers)
		if tt.accepted == 2 { // the third exceeds the rate
			text = strings.ReplaceAll(text, "10.0.", "10.1.")
		}
		if diff := cmp.Diff(want, exchange(t, front, text, tt.answers)); diff != "" || len(want) != tt.answers {
			t.Errorf("%s (- net/http, + front):\n%s\n%q", name, diff, want)
		}
		accepted += tt.accepted
		b.green.has(2 * accepted)
		got := b.green.got()[2*(accepted-tt.accepted):]
		for i := range tt.accepted {
			w, g := got[i].request, got[tt.accepted+i].request
			if tt.accepted == 2 {
				g.Client = []byte(strings.Replace(string(g.Client), "10.1.", "10.0.", 1))
			}
			if diff := cmp.Diff(w, g, protocmp.Transform(), protocmp.IgnoreFields(&event.Request{}, "id", "received_at"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: journaled (- net/http, + front):\n%s", name, diff)
			}
		}
	}
	b.mirror.intake.leaving.Store(true)
	text := post1(from()+"Content-Length: 2\r\n", "{}")
	if diff := cmp.Diff(exchange(t, plain, text, 1), exchange(t, front, text, 1)); diff != "" {
		t.Errorf("while leaving (- net/http, + front):\n%s", diff)
	}
	b.mirror.intake.leaving.Store(false)
	door := b.mirror.intake.open.Load()
	b.mirror.intake.close("closed for the test")
	text = post1(from()+"Origin: https://a.example\r\nContent-Length: 2\r\n", "{}")
	if diff := cmp.Diff(exchange(t, plain, text, 1), exchange(t, front, text, 1)); diff != "" {
		t.Errorf("while closed (- net/http, + front):\n%s", diff)
	}
	b.mirror.intake.open.Store(door)
}

// A connection goes over to net/http with everything that was not answered, at whatever place.
func TestConnectionGoesOver(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Intake.MaxBody = 100_000 })
	addr := strings.TrimPrefix(b.clients, "http://")
	one := post1("Content-Length: 2\r\n", "{}")
	other := "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
	large := post1("Content-Length: 50000\r\n", strings.Repeat("x", 50_000))
	for name, tt := range map[string]struct {
		text string
		want []int
	}{
		"in the middle":          {one + one + other + one, []int{200, 200, 404, 200}},
		"at once":                {other + one, []int{404, 200}},
		"a large one":            {one + large + one, []int{200, 200, 200}},
		"an empty line, then":    {one + "\r\n" + one + "\r\n\r\n" + other, []int{200, 200, 404}},
		"what is none":           {one + "\x00\r\n\r\n", []int{200, 400}},
		"larger than the buffer": {strings.Repeat(one, 300), slicesOf(300, 200)},
	} {
		for _, pause := range []bool{false, true} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(time.Minute))
			go func() {
				text := tt.text
				for pause && len(text) > 1 && len(text) < 1000 { // byte after byte
					io.WriteString(c, text[:1])
					text = text[1:]
				}
				io.WriteString(c, text)
			}()
			var got []int
			for _, a := range answersOf(t, bufio.NewReader(c), len(tt.want)) {
				got = append(got, a.StatusCode)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s, in pieces %v: %s", name, pause, diff)
			}
			c.Close()
		}
	}
}

func slicesOf(n, value int) (all []int) {
	for range n {
		all = append(all, value)
	}
	return all
}

// Connections that say nothing are closed, before the first request and after one.
func TestSilentConnectionsAreClosed(t *testing.T) {
	b := setUp(t, func(o *Options) {
		o.Intake.ReadTimeout, o.Intake.IdleTimeout = 200*time.Millisecond, 100*time.Millisecond
	})
	addr := frontAlone(b)
	for answers, text := range []string{"", post1("Content-Length: 2\r\n", "{}")} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(c, text)
		in := bufio.NewReader(c)
		if n := len(answersOf(t, in, answers)); n != answers {
			t.Errorf("%d answers to %q", n, text)
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("after %d answers the connection was not closed: %v", answers, err)
		}
	}
}
