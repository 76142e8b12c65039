package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// outcome is one outcome of an example, as much of it as is needed to say what differs.
type outcome struct {
	name, outcome, reason string
	digest                int64
	sent                  *string // nil: not kept, too large, or not text
}

// exemplifyOutcomes fills in ids and times from raw, what differs from the outcomes, and the ids of what was sent again.
func (c *collector) exemplifyOutcomes(ctx context.Context, t *tally, live, candidate stageProfile) error {
	examples := c.choose(t)
	again := func(p stageProfile) []event.Position { return p.again[:min(len(p.again), maxAgain)] }
	var all, changed [][]uint64
	for _, x := range examples {
		all = append(all, place(x.Position))
		if x.Kind == Changed {
			changed = append(changed, place(x.Position))
		}
	}
	for _, at := range slices.Concat(again(live), again(candidate)) {
		all = append(all, place(at))
	}
	if len(all) == 0 {
		return nil
	}
	ids := map[event.Position]stored{}
	for _, stack := range []event.Stack{c.ev.Candidate.Stack, c.ev.Live.Stack} {
		rows, err := c.details(ctx, stack, all)
		if err != nil {
			return err
		}
		for at, r := range rows {
			ids[at] = r[0]
		}
	}
	var l, k map[event.Position][]outcome
	if len(changed) > 0 {
		var err error
		if l, err = c.outcomeDetails(ctx, c.ev.Live.Stack, t.stage, changed); err != nil {
			return err
		}
		if k, err = c.outcomeDetails(ctx, c.ev.Candidate.Stack, t.stage, changed); err != nil {
			return err
		}
	}
	for _, x := range examples {
		x.EventID, x.At = shorten(ids[x.Position].eventID), ids[x.Position].at
		if x.Kind == Changed {
			x.contrast(l[x.Position], k[x.Position])
		}
	}
	s := c.ev.stage(t.stage)
	for _, at := range again(live) {
		s.Live.AgainIDs = append(s.Live.AgainIDs, shorten(ids[at].eventID))
	}
	for _, at := range again(candidate) {
		s.Candidate.AgainIDs = append(s.Candidate.AgainIDs, shorten(ids[at].eventID))
	}
	return nil
}

// reasonClass is what of a reason is compared, as in the statements.
func reasonClass(reason string) string {
	switch reason {
	case dryRun, notSampled, sentAgain:
		return ""
	}
	class, _, _ := strings.Cut(reason, ":")
	return class
}

func place(p event.Position) []uint64 { return []uint64{p.Frame, uint64(p.Request), uint64(p.Item)} }

func (c *collector) outcomeDetails(ctx context.Context, stack event.Stack, stage warehouse.Stage, places [][]uint64) (map[event.Position][]outcome, error) {
	out := map[event.Position][]outcome{}
	err := c.query(ctx, c.sql.outcomeDetails(stack, stage, places, maxDiffed), func(r *row) {
		at := event.Position{Frame: r.count(0), Request: uint32(r.count(1)), Item: uint32(r.count(2))}
		o := outcome{name: r.text(3), outcome: r.text(4), reason: r.text(5), digest: r.signed(6)}
		if sent := r.text(7); !r.null(7) && utf8.ValidString(sent) {
			o.sent = &sent
		}
		out[at] = append(out[at], o)
	})
	return out, err
}

// contrast says in what two outcomes of one event differ: columns, and the fields of what was sent where both sides kept it.
func (x *Example) contrast(live, candidate []outcome) {
	if len(live) != 1 || len(candidate) != 1 {
		return // which to compare with which?
	}
	l, k := live[0], candidate[0]
	if l.name != k.name {
		x.Columns, x.RenamedTo = append(x.Columns, "event"), shorten(k.name)
	}
	if l.outcome != k.outcome {
		x.Columns = append(x.Columns, "outcome")
	}
	if reasonClass(l.reason) != reasonClass(k.reason) {
		x.Columns = append(x.Columns, "reason")
	}
	if l.digest != k.digest {
		x.Columns = append(x.Columns, "digest")
	}
	if l.sent == nil || k.sent == nil || *l.sent == *k.sent {
		return
	}
	x.Paths, x.MorePaths = diffPaths("sent", compacted(*l.sent), compacted(*k.sent))
}

// compacted returns JSON without spaces between its tokens; anything else as it is.
func compacted(s string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(s)) != nil {
		return s
	}
	return b.String()
}
