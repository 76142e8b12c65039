package duckdb_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

// load makes rows like a dispatcher's: single events of some 350 bytes with a context of some 200.
func load(first uint64, frames, perFrame int) []warehouse.Row {
	rows := make([]warehouse.Row, 0, frames*perFrame)
	contexts := make([][]byte, 50)
	for i := range contexts {
		contexts[i] = fmt.Appendf(nil, `{"origin":"https://shop.example","writeKey":"w1","userAgent":"Mozilla/5.0 (X11; Linux x86_64) Chrome/%d.0","language":"en-%d","referrer":"","address":"203.0.113.0","country":"NL","gpc":false}`, 100+i, i)
	}
	names := []string{"pageview", "click", "scroll", "add to cart", "order placed"}
	for f := range frames {
		for r := range perFrame {
			n := uint64(f*perFrame + r)
			rows = append(rows, warehouse.Row{
				Position: event.Position{Frame: first + uint64(f), Request: uint32(r)},
				EventID:  fmt.Sprintf("0190a1b2-%04x-7%03x-8%03x-%012x", n>>16&0xffff, n>>4&0xfff, n&0xfff, n*2654435761&0xffffffffffff), Timestamp: 1_753_300_000_000_000 + int64(n),
				Event: names[n%uint64(len(names))],
				Data: fmt.Appendf(nil, `{"event":%q,"deviceId":"d-%08x","userId":"u%d","properties":{"pathname":"/products/%d","title":"Product %d","value":%d.%02d,"currency":"EUR","items":[{"sku":"S-%d","quantity":%d}],"session":"%016x"},"timestamp":"2025-07-23T19:%02d:%02d.%03dZ","messageId":"m-%x"}`,
					names[n%uint64(len(names))], n*2654435761&0xffffffff, n%5000, n%997, n%997, n%300, n%100, n%1009, 1+n%4, n*11400714819323198485, n/60%60, n%60, n%1000, n),
				ItemsInRequest: 1, Build: "7f3a", Context: contexts[n%uint64(len(contexts))],
			})
		}
	}
	return rows
}

func bytesOf(rows []warehouse.Row) (n int64) {
	for i := range rows {
		n += int64(len(rows[i].Data) + len(rows[i].Context))
	}
	return n / int64(len(rows))
}

// cpu is the processor time this process has used, which other load on the machine does not change much.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perRow reports rows a second and processor time a row.
func perRow(b *testing.B, rows int, since time.Duration) {
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64((cpu()-since).Microseconds())/float64(rows), "cpu-us/row")
}

// BenchmarkAppend appends batches of one size, from one caller and from eight at once.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", size), func(b *testing.B) {
			benchmarkAppend(b, open(b, duckdb.Options{}), size)
		})
	}
}

func benchmarkAppend(b *testing.B, w warehouse.Warehouse, size int) {
	defer w.Close()
	frames := max(1, size/10)
	rows := load(1, frames, size/frames)
	batch := &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", Rows: rows}
	b.SetBytes(bytesOf(rows) * int64(size))
	b.ResetTimer()
	used := cpu()
	next := uint64(0)
	for b.Loop() {
		for i := range rows {
			rows[i].Frame += uint64(frames)
		}
		batch.From, batch.To = event.Cursor{Frame: next}, event.Cursor{Frame: rows[len(rows)-1].Frame + 1}
		next = batch.To.Frame
		if _, err := w.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	perRow(b, size*b.N, used)
}

// BenchmarkBothStacks appends to both stacks at once, batches of 100 rows.
func BenchmarkBothStacks(b *testing.B) {
	w := open(b, duckdb.Options{})
	defer w.Close()
	b.ResetTimer()
	used := cpu()
	var wg sync.WaitGroup
	for _, stack := range event.Stacks() {
		wg.Go(func() {
			rows := load(1, 10, 10)
			for n := range b.N {
				for i := range rows {
					rows[i].Frame += 10
				}
				batch := &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: "j", Rows: rows, To: event.Cursor{Frame: rows[99].Frame + 1}}
				if n > 0 {
					batch.From.Frame = rows[0].Frame
				}
				if _, err := w.Append(b.Context(), batch); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	perRow(b, 200*b.N, used)
}

// BenchmarkCompare joins a million rows of each stack by position and compares hashes of their data, which is what
// compare asks.
func BenchmarkCompare(b *testing.B) {
	const million = 1_000_000
	path := filepath.Join(b.TempDir(), "warehouse", "warehouse.duckdb")
	w := open(b, duckdb.Options{Path: path})
	defer w.Close()
	for _, stack := range event.Stacks() {
		for at := uint64(0); at < million/10; at += 1000 {
			batch := &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: "j", From: event.Cursor{Frame: at}, To: event.Cursor{Frame: at + 1000}, Rows: load(at, 1000, 10)}
			if _, err := w.Append(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
	}
	part := func(from, to int) error {
		rows, err := w.Query(b.Context(), warehouse.Query{Args: []any{from, to, from, to}, SQL: `
			SELECT count(*), count(g.frame), count(b.frame), count(*) FILTER (WHERE g.h <> b.h OR g.event <> b.event)
			FROM (SELECT frame, request, item, event, hash(data, "dataBytes", context) h FROM green.raw WHERE run = 0 AND frame >= ? AND frame < ?) g
			FULL JOIN (SELECT frame, request, item, event, hash(data, "dataBytes", context) h FROM blue.raw WHERE run = 0 AND frame >= ? AND frame < ?) b
			ON g.frame = b.frame AND g.request = b.request AND g.item = b.item`})
		if err != nil {
			return err
		}
		defer rows.Close()
		row, err := rows.Next()
		want := 10 * (to - from)
		if err != nil || fmt.Sprint(row) != fmt.Sprint([]any{want, want, want, 0}) {
			return fmt.Errorf("%v, %w", row, err)
		}
		return nil
	}
	for _, parts := range []int{1, 2} {
		b.Run(fmt.Sprintf("parts=%d", parts), func(b *testing.B) {
			for b.Loop() {
				var wg sync.WaitGroup
				for n := range parts {
					wg.Go(func() {
						if err := part(n*million/10/parts, (n+1)*million/10/parts); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
		})
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%.0f bytes of file a row", float64(info.Size())/2/million)
}

// BenchmarkAppendBesideQueries appends batches of 100 rows while as many queries as may run do.
func BenchmarkAppendBesideQueries(b *testing.B) {
	for _, queries := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("queries=%d", queries), func(b *testing.B) {
			w := open(b, duckdb.Options{})
			defer w.Close()
			next := uint64(0)
			add := func(rows []warehouse.Row, frames uint64) time.Duration {
				for i := range rows {
					rows[i].Frame += frames
				}
				start := time.Now()
				batch := &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", Rows: rows, From: event.Cursor{Frame: next}, To: event.Cursor{Frame: rows[len(rows)-1].Frame + 1}}
				if _, err := w.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				next = batch.To.Frame
				return time.Since(start)
			}
			for range 30 {
				add(load(next, 1000, 10), 1000)
			}
			ctx, stop := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			var asked atomic.Int64
			for range queries {
				wg.Go(func() {
					for ctx.Err() == nil {
						rows, err := w.Query(ctx, warehouse.Query{SQL: `SELECT event, count(*), sum(hash(data)), max(length(context)), count(DISTINCT "eventId") FROM green.raw GROUP BY event`})
						if err == nil {
							for err == nil {
								_, err = rows.Next()
							}
							rows.Close()
							asked.Add(1)
						}
					}
				})
			}
			rows := load(next, 10, 10)
			var took []time.Duration
			b.ResetTimer()
			for b.Loop() {
				took = append(took, add(rows, 10))
			}
			stop()
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(asked.Load())/b.Elapsed().Seconds(), "queries/s")
		})
	}
}
