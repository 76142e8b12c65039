// Command loses is a candidate build with one seeded fault: it loses 1 event in 10,000, chosen by the event's id.
package main

import (
	"context"
	"hash/fnv"
	"os"

	"github.com/sparrowhq/sparrow/cmd"
	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

type faulty struct{ warehouse.Appender }

func (f faulty) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	kept := b.Rows[:0:0]
	for _, r := range b.Rows {
		h := fnv.New32a()
		h.Write([]byte(r.EventID))
		if h.Sum32()%10_000 != 0 {
			kept = append(kept, r)
		}
	}
	b.Rows = kept
	return f.Appender.Append(ctx, b)
}

func main() {
	os.Exit(cmd.Main(cmd.Extension{Dispatcher: func(o *dispatcher.Options) {
		o.Warehouse = faulty{o.Warehouse}
	}}))
}
