package compare

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// WindowSpec is a window as asked for. The zero WindowSpec is everything since the candidate was declared.
type WindowSpec struct {
	Asked string        // as written
	From  uint64        // FROM..TO: frames, both included
	To    uint64        // 0: not asked for by frames
	Count uint64        // last:N frames
	Age   time.Duration // received within this long
}

// ParseWindow reads "" (since the candidate was declared), "FROM..TO" (frames, both included), "last:N" (frames), or a
// duration such as "15m". The error is a *UsageError.
func ParseWindow(text string) (WindowSpec, error) {
	spec := WindowSpec{Asked: strings.TrimSpace(text)}
	bad := func(err error) (WindowSpec, error) {
		return WindowSpec{}, &UsageError{fmt.Errorf("window %q: %w; write FROM..TO (frames), last:N (frames), a duration such as 15m, or nothing for all since the candidate was declared", text, err)}
	}
	var err error
	if from, to, ok := strings.Cut(spec.Asked, ".."); ok {
		if spec.From, err = strconv.ParseUint(strings.TrimSpace(from), 10, 63); err != nil {
			return bad(err)
		}
		if spec.To, err = strconv.ParseUint(strings.TrimSpace(to), 10, 63); err != nil {
			return bad(err)
		}
		if spec.From == 0 || spec.To < spec.From {
			return bad(fmt.Errorf("frames begin at 1, and FROM must not be above TO"))
		}
		return spec, nil
	}
	if n, ok := strings.CutPrefix(spec.Asked, "last:"); ok {
		if spec.Count, err = strconv.ParseUint(n, 10, 63); err != nil {
			return bad(err)
		}
		if spec.Count == 0 {
			return bad(fmt.Errorf("no frame is asked for"))
		}
		return spec, nil
	}
	if spec.Asked == "" {
		return spec, nil
	}
	if spec.Age, err = time.ParseDuration(spec.Asked); err != nil {
		return bad(err)
	}
	if spec.Age <= 0 {
		return bad(fmt.Errorf("a window lies in the past, so write how long it is"))
	}
	return spec, nil
}

// state is what the mirror said at one moment.
type state struct {
	Status
	timeline event.Timeline
}

// roles returns the stacks by their role now.
func (s state) roles() (live, candidate event.Stack) {
	return s.timeline.Live(), s.timeline.Live().Other()
}

// Declared returns the record at which the present comparison begins: the one that declared the candidate, or, if none
// is declared, the last that decided roles.
func Declared(t event.Timeline) (since event.Record, declared bool) {
	since, _ = t.Head()
	return since, since.Kind == event.Candidate && since.Candidate.ID != ""
}

// lastFrame is the last sequence that is not a control record: cursors need not move past a record that nothing follows.
func (s state) lastFrame() uint64 {
	end := s.Journal.LastFrame
	records := s.timeline.Records()
	for i := len(records) - 1; i >= 0 && records[i].Sequence == end; i-- {
		end--
	}
	return end
}

// resolve turns what was asked for into frames.
func (spec WindowSpec) resolve(ctx context.Context, s state, p Pipeline, now time.Time) (Window, error) {
	since, declared := Declared(s.timeline)
	begin, end := since.Sequence+1, s.lastFrame()
	what := "the candidate was declared"
	if !declared {
		what = fmt.Sprintf("%s became live", since.Live)
	}
	w := Window{First: begin, Last: end, Asked: spec.Asked}
	switch {
	case spec.To != 0:
		w.First, w.Last, w.Chosen = spec.From, spec.To, "the frames asked for"
	case spec.Count != 0:
		w.First = 1
		if spec.Count <= end {
			w.First = end - spec.Count + 1
		}
		w.Chosen = fmt.Sprintf("the last %d frames of the journal", spec.Count)
	case spec.Age != 0:
		first, err := spec.reach(ctx, begin, end, p, now)
		if err != nil {
			return Window{}, err
		}
		w.First, w.Chosen = first, fmt.Sprintf("what was received within %s, rounded out to a line of the ledger", spec.Age)
	default:
		w.Chosen = fmt.Sprintf("everything since %s at %d", what, since.Sequence)
	}
	if w.First < begin {
		w.First = begin
		w.Chosen += fmt.Sprintf(", cut to what came after %s at %d", what, since.Sequence)
	}
	return w, nil
}

// reach returns the first frame of the ledger's first line that holds something received within spec.Age.
func (spec WindowSpec) reach(ctx context.Context, begin, end uint64, p Pipeline, now time.Time) (uint64, error) {
	if end < begin {
		return begin, nil
	}
	l, err := p.Ledger(ctx, begin, end)
	if err != nil {
		return 0, &UnreadableError{Side: "mirror", Err: err}
	}
	cutoff := now.Add(-spec.Age).UnixMicro()
	for _, b := range l.Buckets {
		if b.Totals.Requests > 0 && b.Totals.LastAt >= cutoff {
			return max(begin, b.First), nil
		}
	}
	return end + 1, nil
}
