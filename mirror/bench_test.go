package mirror

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sparrowhq/sparrow/event"
)

// discard is a dispatcher that reads what it is sent, remembers where it stands, and does nothing else.
type discard struct {
	name event.Stack
	mu   sync.Mutex
	to   event.Cursor
}

func startDiscard(b *testing.B, name event.Stack) string {
	d := &discard{name: name}
	l := localListener(b)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/cursors", func(w http.ResponseWriter, _ *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		fmt.Fprintf(w, `{"stack":%q,"build":{"id":"b","version":"1"},"journals":[],"stages":{"raw":{"frame":%d,"request":%d}}}`, d.name, d.to.Frame, d.to.Request)
	})
	mux.HandleFunc("POST /v1/frames", d.frames)
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	b.Cleanup(func() { server.Close() })
	return "http://" + l.Addr().String()
}

func (d *discard) frames(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var to event.Cursor
	for rest := body; len(rest) > 0; {
		field, kind, n := protowire.ConsumeTag(rest)
		if field > 7 || n < 0 {
			break
		}
		if kind == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(rest[n:])
			switch field {
			case 6:
				to.Frame = v
			case 7:
				to.Request = uint32(v)
			}
		}
		rest = rest[n+protowire.ConsumeFieldValue(field, kind, rest[n:]):]
	}
	d.mu.Lock()
	d.to = to
	d.mu.Unlock()
	fmt.Fprintf(w, `{"cursor":{"frame":%d,"request":%d},"build":{"id":"b","version":"1"},"stack":%q}`, to.Frame, to.Request, d.name)
}

// rawRequest is what a browser's SDK sends, 230 bytes of body.
func rawRequest(host string) []byte {
	body := `{"event":"pageview","deviceId":"4f6ac9fe-55a0-4ab0-9d5e-7a2f0e6b8f11","properties":{"pathname":"/articles/2026/how-to-prove-a-pipeline","title":"How to prove a pipeline","referrer":"https://www.example.org/","screen":"1920x1080"}}`
	return []byte("POST /v1/events?k=dev HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: */*\r\nAccept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nReferer: https://www.example.org/articles/\r\nContent-Type: text/plain\r\n" +
		"Origin: https://www.example.org\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

// rawClient sends the same request again and again over one connection, until stop.
func rawClient(addr string, stop <-chan struct{}, counted func(time.Duration)) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	request := rawRequest(addr)
	in := bufio.NewReader(c)
	var answer []byte
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		began := time.Now()
		if _, err := c.Write(request); err != nil {
			return err
		}
		answer = answer[:0]
		for !bytes.HasSuffix(answer, []byte("\r\n\r\n")) {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			answer = append(answer, line...)
		}
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answered %s", answer)
		}
		if _, err := in.Discard(2); err != nil {
			return err
		}
		counted(time.Since(began))
	}
}

// BenchmarkIntake measures durable answers with both stacks fed: clients, mirror, journal and both back ends share the
// machine.
func BenchmarkIntake(b *testing.B) {
	for _, connections := range []int{1, 32, 256} {
		b.Run(strconv.Itoa(connections), func(b *testing.B) {
			x := &bench{t: b}
			x.options = testOptions(b.TempDir(), startDiscard(b, event.Green), startDiscard(b, event.Blue))
			x.start()
			defer x.stop()
			measure(b, strings.TrimPrefix(x.clients, "http://"), connections)
			e := x.settled()
			accepted := e.Stacks[event.Green].Accepted
			if accepted < uint64(b.N) {
				b.Errorf("%d accepted, %d were answered", accepted, b.N)
			}
			s, err := x.client.Status(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(accepted)/float64(s.Journal.LastFrame), "requests/frame")
		})
	}
}

// BenchmarkFloor is the same without durability: net/http answering from memory.
func BenchmarkFloor(b *testing.B) {
	for _, connections := range []int{1, 32, 256} {
		b.Run(strconv.Itoa(connections), func(b *testing.B) {
			l := localListener(b)
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Write(ok)
			})}
			go server.Serve(l)
			defer server.Close()
			measure(b, l.Addr().String(), connections)
		})
	}
}

// measure sends b.N requests over connections, and reports requests/s and the 99th percentile.
func measure(b *testing.B, addr string, connections int) {
	var mu sync.Mutex
	var times []time.Duration
	left := b.N
	stop := make(chan struct{})
	var wg sync.WaitGroup
	b.ResetTimer()
	began, used := time.Now(), processorTime()
	for range connections {
		wg.Go(func() {
			mine := make([]time.Duration, 0, 4096)
			err := rawClient(addr, stop, func(took time.Duration) {
				mine = append(mine, took)
				mu.Lock()
				if left--; left == 0 {
					close(stop)
				}
				mu.Unlock()
			})
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			times = append(times, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	took := time.Since(began)
	used = processorTime() - used
	b.StopTimer()
	b.ReportMetric(float64(len(times))/took.Seconds(), "requests/s")
	b.ReportMetric(used.Seconds()*1e6/float64(len(times)), "cpu-us/request")
	b.ReportMetric(percentile(times, 0.99).Seconds()*1e3, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

func percentile(times []time.Duration, p float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := append([]time.Duration(nil), times...)
	slices.Sort(sorted)
	return sorted[int(float64(len(sorted)-1)*p)]
}

// processorTime is what this process has used so far: unlike the time that passes, it hardly depends on what else the
// machine does.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
