// Command forgets is a candidate build with one seeded fault: it stops storing one event name.
package main

import (
	"context"
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
		if r.Event != "signup" {
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
