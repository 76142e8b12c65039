// Command loses is a candidate build with one seeded fault: it loses 1 event in 10,000: each ten-thousandth
// that it is given to store.
package main

import (
	"context"
	"os"
	"sync/atomic"

	"github.com/sparrowhq/sparrow/cmd"
	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

type faulty struct {
	warehouse.Appender
	events *atomic.Uint64
}

func (f faulty) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	kept := b.Rows[:0:0]
	for _, r := range b.Rows {
		if f.events.Add(1)%10_000 != 0 {
			kept = append(kept, r)
		}
	}
	b.Rows = kept
	return f.Appender.Append(ctx, b)
}

func main() {
	os.Exit(cmd.Main(cmd.Extension{Dispatcher: func(o *dispatcher.Options) {
		o.Warehouse = faulty{o.Warehouse, new(atomic.Uint64)}
	}}))
}
