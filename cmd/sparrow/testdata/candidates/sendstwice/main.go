// Command sendstwice is a candidate build with one seeded fault: it puts 1 event in 100 into its request to ga4 twice. All of
// its outcomes look as they should, and ga4 counts the event twice.
package main

import (
	"os"
	"sync/atomic"

	"github.com/sparrowhq/sparrow/cmd"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

type doubles struct {
	tracker.Vendor
	events *atomic.Uint64
}

func (d doubles) Assemble(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) {
	var all []*tracker.Form
	for _, form := range forms {
		all = append(all, form)
		if d.events.Add(1)%100 == 0 {
			all = append(all, form)
		}
	}
	d.Vendor.Assemble(c, all, r)
}

func main() {
	os.Exit(cmd.Main(cmd.Extension{Trace: func(o *trace.Options) {
		if t, ok := o.Trackers["ga4"]; ok {
			t.Vendor = doubles{t.Vendor, new(atomic.Uint64)}
			o.Trackers["ga4"] = t
		}
	}}))
}
