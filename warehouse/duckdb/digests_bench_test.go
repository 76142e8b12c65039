package duckdb_test

import (
	"fmt"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

// BenchmarkDigests appends with and without digests: rows of ten to a frame, as under load, and of one to a frame; and
// outcomes of one stage.
func BenchmarkDigests(b *testing.B) {
	const never = 1 << 40 // frames: no bucket is ever closed
	for _, c := range []struct{ size, perFrame int }{{100, 1}, {100, 10}, {10_000, 10}} {
		for _, frames := range []uint64{never, warehouse.DigestFrames} {
			name := fmt.Sprintf("rows=%d/frame=%d/digests=%v", c.size, c.perFrame, frames != never)
			b.Run("raw/"+name, func(b *testing.B) {
				w := open(b, duckdb.Options{DigestFrames: frames})
				defer w.Close()
				n := uint64(c.size / c.perFrame)
				batch := &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", Rows: load(0, int(n), c.perFrame)}
				b.ResetTimer()
				used := cpu()
				for b.Loop() {
					batch.To.Frame = batch.From.Frame + n
					if _, err := w.Append(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
					batch.From = batch.To
					for i := range batch.Rows {
						batch.Rows[i].Frame += n
					}
				}
				b.StopTimer()
				perRow(b, c.size*b.N, used)
			})
			b.Run("outcomes/"+name, func(b *testing.B) {
				w := open(b, duckdb.Options{DigestFrames: frames})
				defer w.Close()
				n := uint64(c.size / c.perFrame)
				batch := &warehouse.Batch{Stack: event.Green, Stage: "ga4", Journal: "j", Outcomes: loadOutcomes(c.size)}
				for i := range batch.Outcomes {
					batch.Outcomes[i].Frame, batch.Outcomes[i].Position.Request = uint64(i/c.perFrame), uint32(i%c.perFrame)
				}
				b.ResetTimer()
				used := cpu()
				for b.Loop() {
					batch.To.Frame = batch.From.Frame + n
					if _, err := w.Append(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
					batch.From = batch.To
					for i := range batch.Outcomes {
						batch.Outcomes[i].Frame += n
					}
				}
				b.StopTimer()
				perRow(b, c.size*b.N, used)
			})
		}
	}
}
