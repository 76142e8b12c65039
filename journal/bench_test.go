package journal

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// BenchmarkPublish measures one frame at a time, each synced before the next, as the mirror publishes.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			o := options(b.TempDir())
			o.MaxBytes = 64 << 30
			j := open(b, o)
			data, totals := frame(b, "", size)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := j.Publish(b.Context(), data, totals); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// filled returns a journal with frames of size bytes.
func filled(b *testing.B, frames, size int) *Journal {
	o := options(b.TempDir())
	o.MaxBytes = 64 << 30
	o.unsafeNoSync = true // only to fill it sooner
	j := open(b, o)
	data, totals := frame(b, "", size)
	for range frames {
		if _, err := j.Publish(b.Context(), data, totals); err != nil {
			b.Fatal(err)
		}
	}
	return j
}

func benchmarkRead(b *testing.B, frames, size int, read func(*Journal) *Reader) {
	j := filled(b, frames, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	r := read(j)
	defer func() { r.Close() }()
	at := uint64(1)
	for n := 0; b.Loop(); n-- {
		for n <= 0 {
			if at == uint64(frames+1) {
				r.Close()
				r, at = read(j), 1
			}
			es, err := r.Next(b.Context(), 4<<20)
			if err != nil {
				b.Fatal(err)
			}
			n += len(es)
			at = es[len(es)-1].Last
		}
	}
}

// BenchmarkRead measures catching up, per frame.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			benchmarkRead(b, (256<<20)/(size+2<<10), size, func(j *Journal) *Reader { return j.Read(1) })
		})
	}
}

// BenchmarkReadTotals measures the ledger's reading, per frame.
func BenchmarkReadTotals(b *testing.B) {
	benchmarkRead(b, 50_000, 1<<10, func(j *Journal) *Reader { return j.ReadTotals(1) })
}

// BenchmarkPublishWhileTrimming measures what trimming costs a publisher: the 99th percentile and the worst wait.
func BenchmarkPublishWhileTrimming(b *testing.B) {
	j := filled(b, 100_000, 1<<10)
	j.o.unsafeNoSync = false // the server's part stays off: what is measured is waiting for the purge
	data, totals := frame(b, "", 1<<10)
	trimmed := make(chan error, 1)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go func() {
		_, err := j.Trim(ctx, 100_000)
		trimmed <- err
	}()
	var waits []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := j.Publish(b.Context(), data, totals); err != nil {
			b.Fatal(err)
		}
		waits = append(waits, time.Since(began))
	}
	select {
	case err := <-trimmed:
		b.Logf("trimmed before the end, %v: the figures are too good", err)
	default:
		cancel()
		<-trimmed
	}
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(waits[len(waits)-1].Microseconds()), "max-µs")
}

// BenchmarkOpenAfterCrash measures opening a journal of 1 GiB whose process was killed.
func BenchmarkOpenAfterCrash(b *testing.B) {
	j := filled(b, 16_000, 64<<10)
	crashed := b.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(j.o.Dir)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		if err := os.CopyFS(dir, os.DirFS(crashed)); err != nil {
			b.Fatal(err)
		}
		o := options(dir)
		o.MaxBytes = j.o.MaxBytes
		b.StartTimer()
		j, err := Open(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
