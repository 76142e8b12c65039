package compare

import (
	"fmt"
	"slices"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// contradictions checks what must hold of any evidence, so that a PASS never rests on a document that something mangled.
func (j *judge) contradictions() []string {
	ev := &j.ev
	m := &muster{ev: ev}
	raw := m.sum(warehouse.Raw)
	for _, s := range []struct {
		Side
		events uint64
	}{{ev.Live, raw.Live}, {ev.Candidate, raw.Candidate}} {
		m.rows(string(s.Stack), s.Rows, s.events, s.Builds)
		m.must(s.Requests <= s.Rows && s.Requests <= ev.Either.Requests, "%s has %s, both sides together %s", s.Stack, requests(s.Requests), grouped(ev.Either.Requests))
		m.must(s.Requests+s.Holes.Requests()+s.Absent >= ev.Ledger.Requests, "%s has %s and %s under holes, of %s accepted", s.Stack, requests(s.Requests), grouped(s.Holes.Requests()), grouped(ev.Ledger.Requests))
		for stage := range s.Stored {
			of := ev.stage(stage)
			m.must(stage == warehouse.Raw || of != nil && of.side(ev, s.Stack).Found, "%s has stored stage %s, of which there is no evidence", s.Stack, shownName(string(stage)))
		}
	}
	m.must(ev.Window.First > ev.Declared.Sequence, "the window begins at frame %d, the candidate was declared at %d", ev.Window.First, ev.Declared.Sequence)
	known := ev.names()
	for _, e := range ev.Events {
		m.must(slices.Contains(known, e.Stage), "event %s is of stage %s, of which there is no evidence", quoteName(e.Name), shownName(string(e.Stage)))
	}
	for _, stage := range j.needed {
		m.stage(stage)
	}
	return m.found
}

// muster collects contradictions.
type muster struct {
	ev    *Evidence
	found []string
}

func (m *muster) must(holds bool, format string, args ...any) {
	if !holds {
		m.found = append(m.found, fmt.Sprintf(format, args...))
	}
}

// sum adds up the names of a stage.
func (m *muster) sum(stage warehouse.Stage) (sum Event) {
	for _, e := range m.ev.Events {
		if e.Stage == stage {
			sum.Live += e.Live
			sum.Candidate += e.Candidate
			sum.Faults.add(e.Faults)
		}
	}
	for _, f := range m.ev.Folded {
		if f.Stage == stage {
			sum.Live += f.Live
			sum.Candidate += f.Candidate
			sum.Faults.add(f.Faults)
		}
	}
	return sum
}

// rows checks that a side's names and builds account for its rows.
func (m *muster) rows(what string, rows, events uint64, builds []BuildSeen) {
	m.must(events == rows, "%s has %s, its event names add up to %s", what, count(rows, "row"), grouped(events))
	var built uint64
	for _, b := range builds {
		built += b.Rows
		m.must(b.First >= m.ev.Window.First && b.Last <= m.ev.Window.Last, "%s ran %s in frames %d to %d, outside the window", what, ShortBuild(b.ID), b.First, b.Last)
	}
	m.must(built == rows, "%s has %s, its builds wrote %s", what, count(rows, "row"), grouped(built))
}

// stage checks that what a stage says to differ explains by how much its sides do, and that what it lacks is told where
// it was lost.
func (m *muster) stage(stage warehouse.Stage) {
	ev, sum, at := m.ev, m.sum(stage), ""
	f := sum.Faults
	if stage != warehouse.Raw {
		at = " at " + shownName(string(stage))
		s := ev.stage(stage)
		if s == nil {
			return // it is missing, and that is a reason of its own
		}
		for _, x := range []struct {
			stack event.Stack
			StageSide
			events uint64
		}{{ev.Live.Stack, s.Live, sum.Live}, {ev.Candidate.Stack, s.Candidate, sum.Candidate}} {
			m.rows(string(x.stack)+at, x.Rows, x.events, x.Builds)
			m.must(x.Sent <= x.Rows && x.Unseen <= x.Rows, "%s%s sent more than it has", x.stack, at)
		}
		before := m.sum(warehouse.Raw)
		if stage != warehouse.Trace {
			before = m.sum(warehouse.Trace)
		}
		gone := before.Missing + before.Changed + before.Dead + before.Undelivered + before.Pending + before.Upstream
		come := before.Extra + before.Changed + before.DeadLive + before.UndeliveredLive + before.PendingLive + before.UpstreamLive
		m.must(f.Upstream <= gone && f.UpstreamLive <= come, "more is missing%s for what an earlier stage did than that stage shows", at)
	}
	closed := len(ev.open([]warehouse.Stage{stage})) == 0
	if stage == warehouse.Trace && closed {
		raw := m.sum(warehouse.Raw)
		lacks := f.Missing + f.Undelivered + f.Pending + f.Upstream + f.Skipped
		m.must(sum.Candidate+raw.DuplicatesCandidate+lacks >= raw.Candidate, "the candidate has %s and only %s", count(raw.Candidate, "raw row"), count(sum.Candidate, "outcome"))
		lacks = f.Extra + f.UndeliveredLive + f.PendingLive + f.UpstreamLive + f.Skipped
		m.must(sum.Live+raw.DuplicatesLive+lacks >= raw.Live, "live has %s and only %s", count(raw.Live, "raw row"), count(sum.Live, "outcome"))
	}
	m.must(sum.Candidate+f.Missing+f.Dead+f.Undelivered+f.Pending+f.Upstream+f.RenamedFrom+f.DuplicatesLive ==
		sum.Live+f.Extra+f.DeadLive+f.UndeliveredLive+f.PendingLive+f.UpstreamLive+f.RenamedTo+f.DuplicatesCandidate,
		"%s live and %s staging rows%s do not differ by what is said to differ", grouped(sum.Live), grouped(sum.Candidate), at)
	m.must(f.Undelivered == 0 || ev.Candidate.Holes.Requests() > 0, "events were never handed to %s%s, though it has no holes", ev.Candidate.Stack, at)
	m.must(f.UndeliveredLive == 0 || ev.Live.Holes.Requests() > 0, "events were never handed to %s%s, though it has no holes", ev.Live.Stack, at)
	m.must(!closed || f.Pending|f.PendingLive == 0, "events are pending%s in a window that is closed", at)
	if stage == warehouse.Raw {
		m.must(f.Skipped|f.Misrouted|f.MisroutedLive|f.Upstream|f.UpstreamLive == 0, "raw shows faults of later stages")
	}
}
