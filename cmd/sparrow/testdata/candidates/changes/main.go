// Command changes is a candidate build with one seeded fault: it changes one byte in one event of about 5,000.
package main

import (
	"bytes"
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
	for i, r := range b.Rows {
		h := fnv.New32a()
		h.Write([]byte(r.EventID))
		if len(r.Data) > 0 && h.Sum32()%5_000 == 0 {
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
