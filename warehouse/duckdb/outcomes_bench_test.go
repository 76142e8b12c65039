package duckdb_test

import (
	"fmt"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/duckdb"
)

// loadOutcomes makes outcomes like a tracker's: nearly all delivered, one in a hundred dead with what was sent and
// answered.
func loadOutcomes(n int) []warehouse.Outcome {
	names := []string{"pageview", "click", "scroll", "add to cart", "order placed"}
	build := fmt.Sprintf("%064x", 12345)
	all := make([]warehouse.Outcome, n)
	for i := range all {
		all[i] = warehouse.Outcome{
			Position: event.Position{Frame: uint64(i / 10), Request: uint32(i % 10)}, Timestamp: 1_753_300_000_000_000 + int64(i)*700, Build: build, Event: names[i*7%5],
			Sink: "production", Outcome: "delivered", Status: 204, Attempts: 1, Digest: uint64(i) * 11400714819323198485, Latency: 30_000 + int64(i*2654435761%500_000),
		}
		if i%100 == 99 {
			o := &all[i]
			o.Outcome, o.Reason, o.Status = "dead", "name not allowed", 400
			o.Request, o.Response = make([]byte, 700), []byte(`{"validationMessages":[{"description":"too long"}]}`)
		}
	}
	return all
}

// BenchmarkOutcomes appends outcomes of four stages at once, in batches of one size.
func BenchmarkOutcomes(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", size), func(b *testing.B) {
			w := open(b, duckdb.Options{})
			defer w.Close()
			stages := []warehouse.Stage{warehouse.Trace, "ga4", "heap", "amplitude"}
			lists := make([][]warehouse.Outcome, len(stages))
			for i := range lists {
				lists[i] = loadOutcomes(size)
			}
			b.ResetTimer()
			used := cpu()
			errs := make(chan error, len(stages))
			for i, stage := range stages {
				go func() {
					list, next := lists[i], uint64(0)
					for range b.N {
						batch := &warehouse.Batch{Stack: event.Green, Stage: stage, Journal: "j", From: event.Cursor{Frame: next}, To: event.Cursor{Frame: next + uint64(size/10)}, Outcomes: list}
						if _, err := w.Append(b.Context(), batch); err != nil {
							errs <- err
							return
						}
						next = batch.To.Frame
						for i := range list {
							list[i].Frame += uint64(size / 10)
						}
					}
					errs <- nil
				}()
			}
			for range stages {
				if err := <-errs; err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			perRow(b, len(stages)*size*b.N, used)
		})
	}
}
