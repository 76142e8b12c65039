package compare

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// pass has every row go through trace and on to the trackers, on both stacks, as two equal builds would. Every fourth
// event keeps what was sent.
func (w *world) pass(trackers ...warehouse.Stage) {
	for _, s := range event.Stacks() {
		sink := candidateSink
		if s == w.timeline.Live() {
			sink = liveSink
		}
		for _, r := range w.rows[s] {
			o := warehouse.Outcome{Position: r.Position, Timestamp: r.Timestamp, Build: r.Build, Event: r.Event, Outcome: "accepted", Latency: int64(w.random.IntN(1000))}
			at := stageAt{s, warehouse.Trace}
			w.outs[at] = append(w.outs[at], o)
			for _, t := range trackers {
				o := o
				form := fmt.Sprintf(`{"name":%q,"to":%q,"properties":%q}`, r.Event, t, r.Data)
				o.Outcome, o.Sink, o.Status, o.Attempts, o.Digest = "delivered", sink, 204, 1, digestOf(form)
				if r.Request%4 == 1 {
					o.Request = []byte(form)
				}
				at := stageAt{s, t}
				w.outs[at] = append(w.outs[at], o)
			}
		}
	}
}

func digestOf(form string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(form))
	return h.Sum64() | 1<<63 // so that signs are met with
}

// rewrite changes what a side sent of an event, and its digest with it.
func rewrite(o *warehouse.Outcome, form string) {
	o.Digest = digestOf(form)
	if o.Request != nil {
		o.Request = []byte(form)
	}
}

// touch changes the outcomes of a stage on one side for which f holds.
func (w *world) touch(s event.Stack, stage warehouse.Stage, f func(i int, o *warehouse.Outcome)) {
	list := slices.Clone(w.outs[stageAt{s, stage}])
	for i := range list {
		f(i, &list[i])
	}
	w.outs[stageAt{s, stage}] = list
}

// lose removes outcomes.
func (w *world) lose(s event.Stack, stage warehouse.Stage, f func(i int, o warehouse.Outcome) bool) {
	i := -1
	w.outs[stageAt{s, stage}] = slices.DeleteFunc(slices.Clone(w.outs[stageAt{s, stage}]), func(o warehouse.Outcome) bool { i++; return f(i, o) })
}

// repeat writes outcomes twice.
func (w *world) repeat(s event.Stack, stage warehouse.Stage, f func(i int, o warehouse.Outcome) bool) {
	var out []warehouse.Outcome
	for i, o := range w.outs[stageAt{s, stage}] {
		out = append(out, o)
		if f(i, o) {
			out = append(out, o)
		}
	}
	w.outs[stageAt{s, stage}] = out
}

// correct appends a later revision of an outcome.
func (w *world) correct(s event.Stack, stage warehouse.Stage, i int, f func(o *warehouse.Outcome)) {
	at := stageAt{s, stage}
	o := w.outs[at][i]
	o.Revision = uint32(len(w.late[at]) + 1)
	f(&o)
	w.late[at] = append(w.late[at], o)
}

// storeOutcomes writes what the stages did, in one batch for each.
func (w *world) storeOutcomes(e warehouse.Appender) {
	w.t.Helper()
	keys := slices.Collect(maps.Keys(w.outs))
	slices.SortFunc(keys, func(a, b stageAt) int { return byStage(a.stage, b.stage) })
	for _, at := range keys {
		to, ok := w.through[at]
		if !ok {
			to = w.cursor[at.stack]
		}
		b := &warehouse.Batch{Stack: at.stack, Stage: at.stage, Journal: w.id, To: to}
		for _, o := range w.outs[at] {
			if to.Covers(o.Frame, o.Position.Request) {
				b.Outcomes = append(b.Outcomes, o)
			}
		}
		if _, err := e.Append(context.Background(), b); err != nil {
			w.t.Fatalf("append to %s of %s: %v", at.stage, at.stack, err)
		}
		w.storeLate(e, at, 0)
	}
}

// storeLate writes the corrections of a stage from number n on.
func (w *world) storeLate(e warehouse.Appender, at stageAt, n int) {
	w.t.Helper()
	late := w.late[at][n:]
	if len(late) == 0 {
		return
	}
	b := &warehouse.Batch{Stack: at.stack, Stage: at.stage.Late(), Journal: w.id, From: event.Cursor{Frame: uint64(n)}, To: event.Cursor{Frame: uint64(n + len(late))}, Outcomes: late}
	if _, err := e.Append(context.Background(), b); err != nil {
		w.t.Fatalf("correct %s of %s: %v", at.stage, at.stack, err)
	}
}
