package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// attack is one class of requests that nobody honest sends, or that somebody honest might but we fear.
type attack struct {
	name string
	// bytes of one of them, written as they are.
	make func(r *rand.Rand) string
	// want are the statuses of the answers, in order, each a list of those that are right; each must come, unless silence
	// says that the connection may also be closed without one.
	want    [][]int
	silence bool
	// fuzzed requests may be anything: any number of answers, each one of want[0], and at most one of them 200.
	fuzzed bool
	// how the client behaves once everything is written.
	then after
}

type after int

const (
	reads  after = iota // reads the answers, with its side open
	closes              // says that nothing more comes, and reads
	resets              // is gone
)

var (
	acceptedOnce = [][]int{{200}}
	malformed    = [][]int{{400}}
	anything     = [][]int{{200, 204, 400, 404, 405, 408, 413, 417, 431, 501, 505}}
)

const smuggled = "POST /v1/events?k=smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"

func hostile(headers, body string) string {
	return "POST /v1/events?k=dev HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body
}

func sized(headers, body string) string {
	return hostile(headers+"Content-Length: "+strconv.Itoa(len(body))+"\r\n", body)
}

func fixed(s string) func(*rand.Rand) string { return func(*rand.Rand) string { return s } }

func oneOf(all ...string) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return all[r.IntN(len(all))] }
}

// noise puts random bytes into the first n bytes of text: changed, inserted, left out.
func noise(r *rand.Rand, text string, n int) string {
	b := []byte(text)
	for range 1 + r.IntN(4) {
		at := r.IntN(min(n, len(b)))
		c := byte(r.UintN(256))
		if r.IntN(2) == 0 {
			c = " \r\n:;,\t\x00/%?*"[r.IntN(12)]
		}
		switch r.IntN(3) {
		case 0:
			b[at] = c
		case 1:
			b = slices.Insert(b, at, c)
		case 2:
			b = slices.Delete(b, at, at+1)
		}
	}
	return string(b)
}

func zipped(plain []byte) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(plain)
	z.Close()
	return b.String()
}

func attacks() []attack {
	bomb := zipped(make([]byte, 9<<20))
	const event = `{"event":"hostile","deviceId":"d","properties":{}}`
	line := "POST /v1/events?k=dev HTTP/1.1\r\n"
	return []attack{
		{name: "an honest request", make: fixed(sized("", event)), want: acceptedOnce},
		{name: "ten at once", make: fixed(strings.Repeat(sized("", event), 10)), want: slices.Repeat(acceptedOnce, 10)},

		{name: "fuzzed line", fuzzed: true, want: anything, then: closes, make: func(r *rand.Rand) string {
			return noise(r, sized("", event), len(line))
		}},
		{name: "fuzzed headers", fuzzed: true, want: anything, then: closes, make: func(r *rand.Rand) string {
			text := sized("User-Agent: x\r\nOrigin: https://a.example\r\n", event)
			return line + noise(r, text[len(line):], len(text)-len(line)-len(event))
		}},
		{name: "junk", fuzzed: true, want: anything, then: closes, make: func(r *rand.Rand) string {
			b := make([]byte, 1+r.IntN(2000))
			for i := range b {
				b[i] = byte(r.UintN(256))
			}
			return string(b) + "\r\n\r\n"
		}},
		{name: "fuzzed body", want: acceptedOnce, make: func(r *rand.Rand) string {
			return sized("", noise(r, event, len(event)))
		}},
		{name: "TLS to a plain port", make: fixed("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), want: malformed},
		{name: "HTTP/2 without TLS", make: fixed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), want: [][]int{{404, 505}}},
		{name: "asks to switch to HTTP/2", want: acceptedOnce, make: fixed(sized("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", event))},
		{name: "version", want: [][]int{{400, 505}}, make: oneOf("POST /v1/events HTTP/3.7\r\nHost: x\r\n\r\n", "POST /v1/events\r\nHost: x\r\n\r\n", "POST /v1/events HTTP/1.1x\r\nHost: x\r\n\r\n")},
		{name: "method", want: [][]int{{404, 405}}, make: oneOf("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
			"TRACE /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", "PUT /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")},
		{name: "path", want: [][]int{{404, 400}}, make: oneOf("POST /v1/../v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "POST //v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
			"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "POST /v1/events/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")},
		{name: "host", want: malformed, make: oneOf("POST /v1/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "POST /v1/events HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}",
			"POST /v1/events HTTP/1.1\r\nHost: a b\r\nContent-Length: 2\r\n\r\n{}")},

		{name: "two lengths", want: malformed, make: oneOf(hostile("Content-Length: 2\r\nContent-Length: 80\r\n", "{}"+smuggled), hostile("Content-Length: 2, 80\r\n", "{}"+smuggled))},
		{name: "length that is none", want: [][]int{{400, 413}}, make: oneOf(hostile("Content-Length: +2\r\n", "{}"), hostile("Content-Length: -2\r\n", "{}"), hostile("Content-Length: 0x2\r\n", "{}"),
			hostile("Content-Length: 2 2\r\n", "{}"), hostile("Content-Length: 18446744073709551618\r\n", "{}"), hostile("Content-Length: 9223372036854775807\r\n", "{}"), hostile("Content-Length: \r\n", "{}"))},
		{name: "CL.TE", want: [][]int{{200, 400}}, make: oneOf(hostile("Content-Length: 100\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"+smuggled),
			hostile("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+smuggled))},
		{name: "TE.CL", want: [][]int{{400, 501}}, make: oneOf(hostile("Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n", "{}"+smuggled), hostile("Transfer-Encoding: chunked, identity\r\nContent-Length: 2\r\n", "{}"+smuggled),
			hostile("Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "{}"+smuggled), hostile("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n", "{}"+smuggled),
			hostile("Transfer-Encoding : chunked\r\nContent-Length: 2\r\n", "{}"+smuggled), hostile("Transfer-Encoding: \x0bchunked\r\nContent-Length: 2\r\n", "{}"+smuggled))},
		{name: "headers that are none", want: malformed, make: oneOf(hostile("Content-Length : 2\r\n", "{}"), hostile("X\x00Y: 1\r\nContent-Length: 2\r\n", "{}"), hostile(": 1\r\nContent-Length: 2\r\n", "{}"),
			hostile("no colon\r\nContent-Length: 2\r\n", "{}"), hostile("X: a\rContent-Length: 70\r\nContent-Length: 2\r\n", "{}"))},
		{name: "chunks that are none", want: malformed, make: oneOf(hostile("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"), hostile("Transfer-Encoding: chunked\r\n", "-2\r\n{}\r\n0\r\n\r\n"),
			hostile("Transfer-Encoding: chunked\r\n", "2\r\n{}X\r\n0\r\n\r\n"), hostile("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), hostile("Transfer-Encoding: chunked\r\n", "2;"+strings.Repeat("e", 1<<16)+"\r\n{}\r\n0\r\n\r\n"))},
		{name: "chunks of one byte, then another request", want: acceptedOnce, make: fixed(hostile("Transfer-Encoding: chunked\r\n", strings.Repeat("1\r\n1\r\n", 500)+"0\r\n\r\n"+smuggled))},

		{name: "too large, announced", want: [][]int{{413}}, make: fixed(hostile("Content-Length: 1048577\r\n", ""))},
		{name: "too large, in chunks", want: [][]int{{413}}, make: fixed(hostile("Transfer-Encoding: chunked\r\n", "100001\r\n"+strings.Repeat("x", 1<<20+1)+"\r\n0\r\n\r\n"))},
		{name: "too many headers", want: [][]int{{431}}, make: func(*rand.Rand) string { return sized(strings.Repeat("X: y\r\n", 200), event) }},
		{name: "too large headers", want: [][]int{{431}}, make: oneOf(sized("X: "+strings.Repeat("y", 50<<10)+"\r\n", event), "POST /v1/events?"+strings.Repeat("k", 50<<10)+" HTTP/1.1\r\nHost: x\r\n\r\n")},
		{name: "no body", want: malformed, make: oneOf(hostile("", ""), hostile("Content-Length: 0\r\n", ""), hostile("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"))},
		{name: "expects what is not there", want: [][]int{{417}}, make: fixed(sized("Expect: a miracle\r\n", event))},

		{name: "cut in the headers", then: closes, silence: true, want: malformed, make: func(r *rand.Rand) string { s := hostile("X: y\r\n", ""); return s[:1+r.IntN(len(s)-3)] }},
		{name: "cut in the body", then: closes, want: malformed, make: func(r *rand.Rand) string {
			return hostile("Content-Length: 40000\r\n", strings.Repeat("x", r.IntN(30_000)))
		}},
		{name: "cut in a chunk", then: closes, want: malformed, make: fixed(hostile("Transfer-Encoding: chunked\r\n", "100\r\n{"))},
		{name: "gone in the body", then: resets, silence: true, make: func(r *rand.Rand) string {
			return hostile("Content-Length: 40000\r\n", strings.Repeat("x", r.IntN(30_000)))
		}},
		{name: "slow headers", silence: true, want: malformed, make: fixed("POST /v1/events HTTP/1.1\r\nHo")},
		{name: "slow body", want: [][]int{{408}}, make: fixed(hostile("Content-Length: 10\r\n", "{"))},

		{name: "gzip bomb", want: acceptedOnce, make: fixed(sized("Content-Encoding: gzip\r\n", bomb))},
		{name: "gzip that is none", want: acceptedOnce, make: fixed(sized("Content-Encoding: gzip\r\n", "\x1f\x8b\x08\x00garbage"))},
		{name: "gzip cut short", want: acceptedOnce, make: func(r *rand.Rand) string {
			z := zipped([]byte(event))
			return sized("Content-Encoding: gzip\r\n", z[:1+r.IntN(len(z)-1)])
		}},
		{name: "deep JSON", want: acceptedOnce, make: fixed(sized("", strings.Repeat("[", 50_000)))},
		{name: "many items", want: acceptedOnce, make: fixed(sized("", "["+strings.Repeat("1,", 10_001)+"1]"))},
		{name: "headers of ours", want: acceptedOnce, make: fixed(sized("Sparrow-Request-Id: "+forged+"\r\nsparrow-live: blue\r\nSparrow-Run: 7\r\nSparrow-Received-At: 0\r\n", event))},
	}
}

const forged = "0190a1b2-c3d4-7000-8000-00000000beef"

// run sends one and returns the answers' statuses and the ids of those that are 200.
func (a *attack) run(clients string, r *rand.Rand) (statuses []int, ids []string, err error) {
	c, err := net.Dial("tcp", strings.TrimPrefix(clients, "http://"))
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	w := &wire{c, bufio.NewReader(c)}
	text := a.make(r)
	written := make(chan struct{})
	go func() { // it may be answered, and the connection closed, before all is written
		defer close(written)
		io.WriteString(c, text)
		if a.then == closes {
			c.(*net.TCPConn).CloseWrite()
		}
	}()
	defer func() { c.Close(); <-written }()
	if a.then == resets {
		<-written
		c.(*net.TCPConn).SetLinger(0)
		return nil, nil, nil
	}
	for {
		if len(statuses) == len(a.want) && !a.fuzzed && a.then == reads && len(a.want) > 0 {
			// No more must come, which nothing but time can show; those that would carry on are asked to stop.
			c.(*net.TCPConn).CloseWrite()
		}
		resp, err := w.answer()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return statuses, ids, fmt.Errorf("after %v neither an answer nor an end", statuses)
			}
			return statuses, ids, nil // closed, in whatever way
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		id := resp.Header.Get("Sparrow-Request-Id")
		if (resp.StatusCode == 200) != (id != "") {
			return statuses, ids, fmt.Errorf("%d with request id %q", resp.StatusCode, id)
		}
		if id != "" {
			ids = append(ids, id)
		}
		statuses = append(statuses, resp.StatusCode)
	}
}

// check says what is wrong with the answers.
func (a *attack) check(statuses []int) error {
	if a.then == resets {
		return nil
	}
	if a.fuzzed {
		for _, s := range statuses {
			if !slices.Contains(a.want[0], s) {
				return fmt.Errorf("answered %v", statuses)
			}
		}
		return nil
	}
	if len(statuses) == 0 && a.silence {
		return nil
	}
	if len(statuses) != len(a.want) {
		return fmt.Errorf("answered %v, want %d answers", statuses, len(a.want))
	}
	for i, s := range statuses {
		if !slices.Contains(a.want[i], s) {
			return fmt.Errorf("answered %v, want %v", statuses, a.want)
		}
	}
	return nil
}

// A flood of requests that nobody honest sends: each class has the right answer, nothing is smuggled in, no process
// panics, the mirror leaks neither goroutines nor descriptors, and what was answered 200, no more and no less, is in both
// datasets.
func TestProofHostile(t *testing.T) {
	t.Setenv("SPARROW_CLIENTS_READ_TIMEOUT", "1s")
	s := up(t)
	all := attacks()
	ids := map[string]bool{}
	counts := map[string]map[int]int{}
	var mu sync.Mutex
	wrong := 0
	flood := func(from, to int) {
		next := make(chan int)
		var wg sync.WaitGroup
		for range 48 {
			wg.Go(func() {
				for n := range next {
					a := &all[n%len(all)]
					statuses, got, err := a.run(s.ends.Clients, rand.New(rand.NewPCG(uint64(n), 7)))
					if err == nil {
						err = a.check(statuses)
					}
					mu.Lock()
					if err != nil {
						if wrong++; wrong <= 20 {
							t.Errorf("%s (%d): %v", a.name, n, err)
						}
					}
					if counts[a.name] == nil {
						counts[a.name] = map[int]int{}
					}
					for _, status := range statuses {
						counts[a.name][status]++
					}
					for _, id := range got {
						if ids[id] || id == forged {
							t.Errorf("%s: the id %s is not its own", a.name, id)
						}
						ids[id] = true
					}
					mu.Unlock()
				}
			})
		}
		for n := from; n < to; n++ {
			next <- n
		}
		close(next)
		wg.Wait()
	}
	pid := s.pid("mirror")
	flood(0, 400) // until everything that is kept for later is there
	goroutines, descriptors := s.metric("mirror", "go_goroutines"), openDescriptors(t, pid)
	flood(400, choose(3000, 100_000))

	for _, a := range all {
		t.Logf("%-45s %v", a.name, counts[a.name])
	}
	s.await("goroutines and descriptors are as before", time.Minute, func() error {
		g, d := s.metric("mirror", "go_goroutines"), openDescriptors(t, pid)
		if g > goroutines+10 || d > descriptors+10 {
			return fmt.Errorf("%v goroutines, before %v; %d descriptors, before %d", g, goroutines, d, descriptors)
		}
		return nil
	})
	for _, p := range s.ends.Processes {
		if n := s.metric(p.Name, "sparrow_panics_total"); n != 0 {
			t.Errorf("%s: %v panics", p.Name, n)
		}
		if now := s.pid(p.Name); now != p.PID {
			t.Errorf("%s was started again: process %d, before %d", p.Name, now, p.PID)
		}
	}
	s.settled()
	if n := s.status().Accepted.Requests; n != uint64(len(ids)) {
		t.Errorf("%d requests were answered 200, the journal has %d", len(ids), n)
	}
	for _, dataset := range []string{"live", "staging"} {
		stored := 0
		for _, row := range s.query(`SELECT DISTINCT substr("eventId", 1, 36) FROM ` + dataset + `.raw`) {
			if !ids[row[0]] {
				t.Errorf("%s: nobody was told of %s", dataset, row[0])
			}
			stored++
		}
		if stored != len(ids) {
			t.Errorf("%s: %d of %d accepted requests are stored", dataset, stored, len(ids))
		}
		if n := s.number(`SELECT count(*) FROM ` + dataset + `.raw WHERE context LIKE '%smuggled%'`); n != 0 {
			t.Errorf("%s: %d smuggled requests", dataset, n)
		}
	}
}

// metric reads one number of a process's metrics; that of a metric with labels is the sum.
func (s *sparrow) metric(process, name string) (sum float64) {
	s.t.Helper()
	for _, p := range s.ends.Processes {
		if p.Name != process {
			continue
		}
		resp, err := client.Get(p.URL + "/metrics")
		if err != nil {
			s.t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		found := false
		for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(string(text), -1) {
			x, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				s.t.Fatal(err)
			}
			sum, found = sum+x, true
		}
		if !found {
			s.t.Fatalf("%s has no metric %s", process, name)
		}
		return sum
	}
	s.t.Fatalf("no process %s", process)
	return 0
}

func openDescriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
