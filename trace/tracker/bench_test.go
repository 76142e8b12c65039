package tracker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

const asVendor = "SPARROW_TEST_VENDOR"

func TestMain(m *testing.M) {
	if os.Getenv(asVendor) != "" {
		serveVendor()
		return
	}
	goleak.VerifyTestMain(m)
}

// serveVendor is the other side of a benchmark, a process of its own so that its work is not counted: it reads, and
// says yes as each vendor does.
func serveVendor() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("http://" + l.Addr().String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the benchmark
		os.Exit(0)
	}()
	panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasPrefix(r.URL.Path, "/ga4/") {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, `{"code":200}`)
	})))
}

func startVendorProcess(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asVendor+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// cpu is what this process has used: on a busy machine it says the same.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSend is an event's whole way through a Sender, from the View to the Result, by vendor and by how many events
// a device has at a time, which is what GA4's cost depends on.
func BenchmarkSend(b *testing.B) {
	properties := []pipeline.Property{
		{Name: "browser", Value: json.RawMessage(`"Firefox"`)}, {Name: "count", Value: json.RawMessage(`17`)}, {Name: "page", Value: json.RawMessage(`"/zones/42"`)},
		{Name: "plan", Value: json.RawMessage(`"business"`)}, {Name: "seconds", Value: json.RawMessage(`3.25`)}, {Name: "zone", Value: json.RawMessage(`"north-east"`)},
		{Name: "note", Value: json.RawMessage(`"a sentence that someone typed"`)},
	}
	for _, k := range kinds {
		for _, each := range []int{1, 5, 25} {
			if each > 1 && k.which != sandbox.GA4 {
				continue
			}
			b.Run(fmt.Sprintf("%s/device=%d", k.which, each), func(b *testing.B) {
				v := vendors{url: startVendorProcess(b)}
				var got, failed atomic.Int64
				end := make(chan struct{}, 1)
				total := int64(-1)
				var want atomic.Int64
				want.Store(total)
				s, err := tracker.New(tracker.Options{Name: "bench", Vendor: k.vendor, Credentials: v.credentials(k.which), NoPacing: true, Done: func(results []tracker.Result) {
					for i := range results {
						if results[i].Outcome != tracker.Delivered {
							failed.Add(1)
						}
					}
					if got.Add(int64(len(results))) == want.Load() {
						end <- struct{}{}
					}
				}})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				now := time.Now().UnixMicro()
				all := make([]tracker.Item, 1000)
				fill := func(from int) []tracker.Item {
					for i := range all {
						n := from + i
						id := fmt.Sprintf("0190b3a2-7c1e-7abc-8def-%012d", n)
						all[i] = tracker.Item{Sink: tracker.Production, Event: pipeline.Event{ID: id, Key: id, Name: "zone_delete", DeviceID: id[20:24] + fmt.Sprintf("%022d", n/each), Time: now, ReceivedAt: now, Properties: properties}}
						all[i].Event.Frame = uint64(n)
					}
					return all
				}
				b.ReportAllocs()
				rounds := max(1, (b.N+999)/1000)
				want.Store(int64(rounds * 1000))
				before := cpu(b)
				b.ResetTimer()
				for i := range rounds {
					if err := s.Send(context.Background(), fill(i*1000)); err != nil {
						b.Fatal(err)
					}
				}
				<-end
				b.StopTimer()
				n := float64(rounds * 1000)
				b.ReportMetric(float64((cpu(b)-before).Microseconds())/n, "cpu-µs/event")
				b.ReportMetric(n/b.Elapsed().Seconds(), "events/s")
				if failed.Load() > 0 {
					b.Errorf("%d events failed", failed.Load())
				}
			})
		}
	}
}
