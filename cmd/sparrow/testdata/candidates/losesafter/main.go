// Command losesafter is a candidate build with one seeded fault: it loses 1 event in 10,000 after trace's own log. Those are
// accepted there, and left out, without a word, of the request that should carry them to heap.
package main

import (
	"os"
	"sync/atomic"

	"github.com/sparrowhq/sparrow/cmd"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

type forgets struct {
	tracker.Vendor
	events *atomic.Uint64
}

func (f forgets) Assemble(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) {
	var kept []*tracker.Form
	for _, form := range forms {
		if f.events.Add(1)%10_000 != 0 || len(forms) == 1 {
			kept = append(kept, form)
		}
	}
	f.Vendor.Assemble(c, kept, r)
}

func main() {
	os.Exit(cmd.Main(cmd.Extension{Trace: func(o *trace.Options) {
		if t, ok := o.Trackers["heap"]; ok {
			f := forgets{t.Vendor, new(atomic.Uint64)}
			f.events.Store(9_800) // the first of them soon, or a test would have to send ten thousand
			t.Vendor = f
			o.Trackers["heap"] = t
		}
	}}))
}
