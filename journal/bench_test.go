package journal

import (
	"fmt"
	"testing"
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
