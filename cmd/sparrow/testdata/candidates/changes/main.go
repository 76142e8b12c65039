// Command changes is a candidate build with one seeded fault: it changes one byte in each five-thousandth event.
package main

import (
	"bytes"
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
	for i, r := range b.Rows {
		if len(r.Data) > 0 && f.events.Add(1)%5_000 == 0 {
			data := bytes.Clone(r.Data)
			data[len(data)-1] = ' '
			b.Rows[i].Data = data
		}
	}
	return f.Appender.Append(ctx, b)
}

func main() {
	os.Exit(cmd.Main(cmd.Extension{Dispatcher: func(o *dispatcher.Options) {
		o.Warehouse = faulty{o.Warehouse, new(atomic.Uint64)}
	}}))
}
