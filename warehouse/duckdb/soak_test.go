//go:build linux

package duckdb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// TestSoakWarehouse fills a file with SPARROW_SOAK_ROWS rows of the real distribution (SPARROW_TEST_DATA: its events,
// again and again, each with an id and a time of its own, over four days), and measures: the rate of appends at the start
// and at the end, the file, memory, the questions people ask, appends at an offered 20,000 rows/s beside queries, and
// live's appends beside a candidate that writes a hundred times its rows. It prints the table of docs/benchmarks.md. What
// it asserts: no row is lost, 90 % of what is offered is taken (in the long form), and memory is bounded. Run that with make soak-warehouse.
func TestSoakWarehouse(t *testing.T) {
	s := &soak{t: t, rows: 40_000, kinds: realEvents(t), began: time.Now(), phase: 200 * time.Millisecond}
	if text := os.Getenv("SPARROW_SOAK_ROWS"); text != "" {
		rows, err := strconv.ParseUint(text, 10, 64)
		if err != nil || rows < 500_000 {
			t.Fatalf("SPARROW_SOAK_ROWS is %q: want at least 500000", text)
		}
		s.rows, s.long, s.phase = rows, true, 30*time.Second
	}
	s.start = time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -4).UnixMicro()
	s.e = openTest(t, Options{})
	s.fill()
	s.questions()
	s.beside()
	s.candidate()
	if got := table(t, s.e, "SELECT count(*), count(DISTINCT frame) FROM green.raw"); got != fmt.Sprint(s.next, s.next/soakFrame) {
		t.Errorf("rows and frames %s, want %d and %d", got, s.next, s.next/soakFrame)
	}
	if rss := status(t, "VmHWM"); rss > 4<<10 {
		t.Errorf("the process held %d MiB at some time", rss)
	}
	fmt.Printf("\n| what | figure |\n|---|---:|\n%s", s.table.String())
	fmt.Printf("\nall of it took %v\n", time.Since(s.began).Round(time.Second))
}

// soakFrame is how many rows a frame has: each of a request of its own.
const soakFrame = 100

type soak struct {
	t     *testing.T
	e     *Engine
	kinds []warehouse.Row // Event, Data
	rows  uint64
	long  bool          // SPARROW_SOAK_ROWS says how long
	phase time.Duration // of each of the phases beside others
	next  uint64        // row of green, from 0: frame 2 + next/soakFrame
	start int64         // microseconds: when the first row was received
	began time.Time
	table strings.Builder
}

// realEvents are the events of SPARROW_TEST_DATA, with their names; without it, made-up ones.
func realEvents(t *testing.T) (all []warehouse.Row) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv("SPARROW_TEST_DATA"), "*", "events.ndjson"))
	if os.Getenv("SPARROW_TEST_DATA") == "" || len(files) == 0 {
		t.Log("SPARROW_TEST_DATA has no events: made-up ones instead")
		for n := range 100_000 {
			all = append(all, warehouse.Row{Event: []string{"pageview", "click", "order placed"}[n%3], Data: fmt.Appendf(nil, `{"event":"x","deviceId":"d-%08x","properties":{"pathname":"/products/%d","value":%d}}`, uint32(n)*2654435761, n%997, n%300)})
		}
		return all
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(f)
		in.Buffer(nil, 16<<20)
		for in.Scan() {
			var e struct{ Event string }
			if err := json.Unmarshal(in.Bytes(), &e); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			all = append(all, warehouse.Row{Event: e.Event, Data: slices.Clone(in.Bytes())})
		}
		if err := errors.Join(in.Err(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// status reads a line of /proc/self/status, in MiB.
func status(t *testing.T, name string) int {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), name+":")
	var kib int
	fmt.Sscan(rest, &kib)
	return kib >> 10
}

var contexts = func() (all [][]byte) {
	for i := range 50 {
		all = append(all, fmt.Appendf(nil, `{"origin":"https://shop.example","writeKey":"w1","userAgent":"Mozilla/5.0 (X11; Linux x86_64) Chrome/%d.0","language":"en-%d","referrer":"","address":"203.0.113.0","country":"NL","gpc":false}`, 100+i, i))
	}
	return all
}()

// batch makes rows [from, to) of a stack, whole frames, received every step microseconds.
func (s *soak) batch(stack event.Stack, from, to uint64, step float64) *warehouse.Batch {
	b := &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: "j", From: event.Cursor{Frame: 2 + from/soakFrame}, To: event.Cursor{Frame: 2 + to/soakFrame}}
	if from == 0 {
		b.From = event.Cursor{}
	}
	b.Rows = make([]warehouse.Row, 0, to-from)
	var data []byte // one piece of memory for all
	for n := from; n < to; n++ {
		k := &s.kinds[n%uint64(len(s.kinds))]
		at := s.start + int64(float64(n)*step)
		id := fmt.Sprintf("%08x-%04x-7%03x-8%03x-%012x", uint32(at>>28), uint16(at>>12), at&0xfff, n>>4&0xfff, n*0x9E3779B97F4A7C15>>16)
		lo := len(data)
		data = append(append(append(append(data, `{"messageId":"`...), id...), `",`...), k.Data[1:]...)
		b.Rows = append(b.Rows, warehouse.Row{Position: event.Position{Frame: 2 + n/soakFrame, Request: uint32(n % soakFrame)}, EventID: id, Timestamp: at, Event: k.Event,
			Data: data[lo:len(data):len(data)], ItemsInRequest: 1, Build: "7f3a9c0e11", Context: contexts[n%uint64(len(contexts))]})
	}
	return b
}

func (s *soak) say(what, format string, args ...any) {
	figure := fmt.Sprintf(format, args...)
	fmt.Fprintf(&s.table, "| %s | %s |\n", what, figure)
	fmt.Printf("%7s  %s: %s\n", time.Since(s.began).Round(time.Second), what, figure)
}

func (s *soak) file() float64 {
	info, err := os.Stat(s.e.o.Path)
	if err != nil {
		s.t.Fatal(err)
	}
	return float64(info.Size())
}

func (s *soak) append(b *warehouse.Batch) time.Duration {
	began := time.Now()
	if _, err := s.e.Append(s.t.Context(), b); err != nil {
		s.t.Fatal(err)
	}
	return time.Since(began)
}

// fill appends s.rows rows as fast as it goes, a batch being made while another is stored.
func (s *soak) fill() {
	const most = 20_000
	first := &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", To: event.Cursor{Frame: 2}, Controls: []*event.ControlEntry{initial(s.t, event.Green)}}
	s.append(first)
	if err := s.e.Normalise(s.t.Context(), event.Green, []warehouse.Property{{Name: "namespace", Keys: []string{"namespace"}, Type: warehouse.TypeString}, {Name: "delta", Keys: []string{"delta"}, Type: warehouse.TypeInteger}, {Name: "page", Keys: []string{"page"}, Type: warehouse.TypeString}}); err != nil {
		s.t.Fatal(err)
	}
	s.rows -= s.rows % most
	step := 4 * 24 * 3600 * 1e6 / float64(s.rows)
	made := make(chan *warehouse.Batch, 2)
	go func() {
		defer close(made)
		for n := uint64(0); n < s.rows; n += most {
			b := s.batch(event.Green, n, n+most, step)
			if n == 0 {
				b.From = event.Cursor{Frame: 2}
			}
			made <- b
		}
	}()
	part := max(s.rows/20/most, 1) * most // of the rates and the progress
	var storing time.Duration
	var rates []float64
	began, busy := time.Now(), cpuTime()
	for b := range made {
		storing += s.append(b)
		if s.next += most; s.next%part == 0 {
			rates = append(rates, float64(part)/storing.Seconds())
			fmt.Printf("%7s  %d of %d rows, %.0f rows/s in these, file %.2f GB, process %d MiB, DuckDB %d MiB\n", time.Since(s.began).Round(time.Second), s.next, s.rows, rates[len(rates)-1], s.file()/1e9, status(s.t, "VmRSS"), memoryUsed()>>20)
			storing = 0
		}
	}
	s.say("rows", "%d, of %d real events, four days", s.rows, len(s.kinds))
	s.say("appended in batches of 20,000, the first and the last twentieth", "%.0f and %.0f rows/s", rates[0], rates[len(rates)-1])
	s.say("the same, slowest twentieth", "%.0f rows/s", slices.Min(rates))
	s.say("CPU a row, making it included; elapsed", "%.1f µs; %v", float64((cpuTime()-busy).Microseconds())/float64(s.rows), time.Since(began).Round(time.Second))
	s.say("file", "%.2f GB, %.0f bytes a row", s.file()/1e9, s.file()/float64(s.rows))
	s.say("memory: process now and at most; DuckDB's share now, of 1 GiB given", "%d and %d MiB; %d MiB", status(s.t, "VmRSS"), status(s.t, "VmHWM"), memoryUsed()>>20)
}

// ask runs a query and returns how many rows it answered.
func (s *soak) ask(ctx context.Context, sql string) (n int, err error) {
	rows, err := s.e.Query(ctx, warehouse.Query{SQL: sql})
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for {
		if _, err := rows.Next(); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n++
	}
}

func (s *soak) day() string {
	from := s.start + 2*24*3600*1e6
	return fmt.Sprintf(`"timestamp" >= make_timestamp(%d) AND "timestamp" < make_timestamp(%d)`, from, from+24*3600*1e6)
}

func (s *soak) queries() map[string]string {
	return map[string]string{
		"events of one day, by name":                             "SELECT event, count(*) FROM live.raw WHERE " + s.day() + " GROUP BY 1",
		"one hour of raw_normalized, filtered by two properties": fmt.Sprintf(`SELECT "deviceId", page, delta FROM live.raw_normalized WHERE "timestamp" >= make_timestamp(%d) AND "timestamp" < make_timestamp(%d) AND namespace = 'Talk' AND delta > 100 LIMIT 1000`, s.start+int64(60*3600*1e6), s.start+int64(61*3600*1e6)),
		"one event by its id, in one day":                        `SELECT * FROM live.raw WHERE "eventId" = 'none' AND ` + s.day(),
		"events by name, all days":                               "SELECT event, count(*) FROM live.raw GROUP BY 1",
		"count of all rows":                                      "SELECT count(*) FROM green.raw",
	}
}

func (s *soak) questions() {
	all := s.queries()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var took []time.Duration
		n := 0
		for range 3 {
			began := time.Now()
			var err error
			if n, err = s.ask(s.t.Context(), all[name]); err != nil {
				s.t.Errorf("%s: %v", name, err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		s.say(name, "%v (%d rows answered)", took[1].Round(time.Millisecond), n)
	}
}

// cpuTime is the processor time that this process took.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func quantile(all []time.Duration, per float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(float64(len(all))*per/100), len(all)-1)].Round(10 * time.Microsecond)
}

// offer appends rate rows a second for a while, or as many of them as it can, in batches of what is due, up to 20,000.
func (s *soak) offer(rate uint64, while time.Duration) (offered, taken uint64, took []time.Duration) {
	step := 4 * 24 * 3600 * 1e6 / float64(s.rows)
	began := time.Now()
	for {
		passed := time.Since(began)
		if passed >= while {
			return uint64(passed.Seconds() * float64(rate)), taken, took
		}
		due := uint64(passed.Seconds()*float64(rate)) - taken
		if due -= due % soakFrame; due == 0 {
			time.Sleep(time.Millisecond) // what is offered has a pace
			continue
		}
		due = min(due, 20_000)
		took = append(took, s.append(s.batch(event.Green, s.next, s.next+due, step)))
		s.next += due
		taken += due
	}
}
