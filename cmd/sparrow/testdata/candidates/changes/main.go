// Command changes is a candidate build with one seeded fault: it changes one byte in one event of about 4,096.
package main

import (
	"bytes"
	"context"
	"os"

	"github.com/sparrowhq/sparrow/cmd"
	"github.com/sparrowhq/sparrow/dispatcher"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

type faulty struct{ warehouse.Appender }

func (f faulty) Append(ctx context.Context, b *warehouse.Batch) (event.Cursor, error) {
	for i, r := range b.Rows {
		if len(r.Data) > 0 && r.EventID[33:36] == "fed" {
			data := bytes.Clone(r.Data)
			data[len(data)-1] = ' '
			b.Rows[i].Data = data
		}
	}
	return f.Appender.Append(ctx, b)
}

func main() {
	os.Exit(cmd.Main(cmd.Extension{Dispatcher: func(o *dispatcher.Options) {
		o.Warehouse = faulty{o.Warehouse}
	}}))
}
