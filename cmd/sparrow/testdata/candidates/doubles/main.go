// Command doubles is a candidate build with one seeded fault: it writes each five-thousandth row twice.
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
	rows := b.Rows[:0:0]
	for _, r := range b.Rows {
		rows = append(rows, r)
		if f.events.Add(1)%5_000 == 0 {
			rows = append(rows, r)
		}
	}
	b.Rows = rows
	return f.Appender.Append(ctx, b)
}

func main() {
	os.Exit(cmd.Main(cmd.Extension{Dispatcher: func(o *dispatcher.Options) {
		o.Warehouse = faulty{o.Warehouse, new(atomic.Uint64)}
	}}))
}
