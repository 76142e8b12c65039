package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wire is one connection to the clients' address, without anything that retries.
type wire struct {
	net.Conn
	in *bufio.Reader
}

func dial(clients string) (*wire, error) {
	c, err := net.Dial("tcp", strings.TrimPrefix(clients, "http://"))
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	return &wire{c, bufio.NewReader(c)}, nil
}

// ask writes a request and returns the answer, its body read.
func (w *wire) ask(request string) (*http.Response, error) {
	if _, err := io.WriteString(w, request); err != nil {
		return nil, err
	}
	return w.answer()
}

func (w *wire) answer() (*http.Response, error) {
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp, err
}

// event is a request with one event, whose body has the given size, 63 bytes or more.
func request(n, size int) string {
	body := fmt.Sprintf(`{"event":"wire","deviceId":"d%d","properties":{"n":%d,"pad":"`, n%1000, n)
	body += strings.Repeat("x", max(0, size-len(body)-3)) + `"}}`
	return fmt.Sprintf("POST /v1/events?k=dev HTTP/1.1\r\nHost: sparrow\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// traffic is clients that send as fast as they are answered, each request once, and note what becomes of it.
type traffic struct {
	mu       sync.Mutex
	acked    map[string]int
	failures []string
	slowest  time.Duration
	answered atomic.Int64
	stopping atomic.Bool
	wg       sync.WaitGroup
}

// clients starts n of them. Those that keep no connection take a new one for each request; others until an answer ends
// it. Whatever happens beside a 200 is a failure.
func (x *traffic) clients(clients string, n int, keep bool, size int) {
	if x.acked == nil {
		x.acked = map[string]int{}
	}
	for c := range n {
		x.wg.Go(func() {
			var w *wire
			defer func() {
				if w != nil {
					w.Close()
				}
			}()
			for i := c; !x.stopping.Load(); i += n {
				began := time.Now()
				what, resp, err := "connecting", (*http.Response)(nil), error(nil)
				if w == nil {
					w, err = dial(clients)
				}
				if err == nil {
					what = "asking"
					w.SetDeadline(time.Now().Add(2 * time.Minute))
					resp, err = w.ask(request(i, size))
				}
				took := time.Since(began)
				x.mu.Lock()
				x.slowest = max(x.slowest, took)
				switch {
				case err != nil:
					x.failures = append(x.failures, fmt.Sprintf("%s: %v", what, err))
				case resp.StatusCode != http.StatusOK:
					x.failures = append(x.failures, resp.Status)
				default:
					x.acked[resp.Header.Get("Sparrow-Request-Id")]++
				}
				x.mu.Unlock()
				x.answered.Add(1)
				if w != nil && (err != nil || !keep || resp.Close) {
					w.Close()
					w = nil
				}
			}
		})
	}
}

// stop ends them and returns what was acknowledged.
func (x *traffic) stop(t *testing.T) map[string]int {
	t.Helper()
	x.stopping.Store(true)
	x.wg.Wait()
	for i, f := range x.failures {
		if i == 10 {
			t.Errorf("and %d more", len(x.failures)-10)
			break
		}
		t.Errorf("a client: %s", f)
	}
	return x.acked
}
