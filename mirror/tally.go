package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"sync"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/journal"
)

// tally knows how many requests of every range of frames a stack's rule leaves out, so that a window can be proved
// complete when its frames are long gone. It is kept like the ledger: frame by frame for the open page, by lines for the
// rest, and each line is durable before its frames may be trimmed.
type tally struct {
	stack event.Stack

	saving sync.Mutex // held while lines are written, so that they are written in order

	mu     sync.Mutex
	page   page      // open; page.first is 0 until there is a rule
	lines  []leftOut // ascending, contiguous up to page.first
	saved  uint64    // frames below it are on durable lines
	cut    bool      // the open page is to be closed as soon as something is on it
	detail []*page   // of the last few lines that were asked for
}

// leftOut is a line: what the rule left out of the frames from First to Last.
type leftOut struct {
	Format  int          `json:"format"`
	First   uint64       `json:"first"`
	Last    uint64       `json:"last"`
	Totals  event.Totals `json:"totals"`
	Through event.Totals `json:"through"` // of everything up to and including Last

	sequence uint64 // in the log
}

// keptTally is how many lines are kept, in memory as at a restart: 67 million frames at least.
const keptTally = 1 << 16

func tallyLog(s event.Stack) string { return "sampled." + string(s) }

// openTally reads the log from sequence from on.
func openTally(ctx context.Context, j graves, s event.Stack, from uint64) (*tally, error) {
	t := &tally{stack: s}
	err := j.Records(ctx, tallyLog(s), from, func(sequence uint64, value []byte) error {
		n := leftOut{sequence: sequence}
		if err := json.Unmarshal(value, &n); err != nil {
			return fmt.Errorf("line %d of what %s does not get: %w", sequence, s, err)
		}
		if n.Format != lineFormat {
			return fmt.Errorf("line %d of what %s does not get has format %d, this build reads %d: run the newer build", sequence, s, n.Format, lineFormat)
		}
		if n.First < t.page.first { // written again after an answer that was lost
			return nil
		}
		t.lines = append(t.lines, n)
		t.page = page{first: n.Last + 1, before: n.Through}
		t.saved = n.Last + 1
		return nil
	})
	return t, err
}

// begin starts the tally with frame first, unless it has begun.
func (t *tally) begin(first uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.page.first == 0 {
		t.page.first, t.saved = first, first
	}
}

// next is the first frame that is not counted; 0 if there is no rule.
func (t *tally) next() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.page.first == 0 {
		return 0
	}
	return t.page.next()
}

// note counts the sequences from first to last, which must be next, out of which left is left out.
func (t *tally) note(first, last uint64, left event.Totals) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if first != t.page.next() {
		return
	}
	if last-first >= lineSpan { // a gap: a line of its own
		t.closeLocked()
		t.lines = append(t.lines, leftOut{Format: lineFormat, First: first, Last: last, Totals: left, Through: t.page.before})
		t.page = page{first: last + 1, before: t.page.before}
		return
	}
	t.page.frames = append(t.page.frames, left)
	for range last - first {
		t.page.frames = append(t.page.frames, event.Totals{})
	}
	if t.cut || t.page.next()%lineSpan == 0 || len(t.page.frames) >= lineSpan {
		t.closeLocked()
	}
}

func (t *tally) closeLocked() {
	if t.cut = false; len(t.page.frames) == 0 {
		return
	}
	l := t.page.line()
	t.lines = append(t.lines, leftOut{Format: lineFormat, First: l.First, Last: l.Last, Totals: l.Totals, Through: l.Through})
	t.page = page{first: l.Last + 1, before: l.Through}
	if drop := len(t.lines) - keptTally; drop > keptTally/2 && t.lines[drop].First <= t.saved {
		t.lines = append([]leftOut(nil), t.lines[drop:]...)
	}
}

// hurry closes the open page early: its frames have to be trimmed.
func (t *tally) hurry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.page.first > 0 && t.page.next() > t.saved {
		t.cut = true
	}
}

// settle closes the page if it is to be, and makes lines durable.
func (t *tally) settle(ctx context.Context, append func(ctx context.Context, log string, value []byte) (uint64, error)) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	for {
		t.mu.Lock()
		if t.cut {
			t.closeLocked()
		}
		i := sort.Search(len(t.lines), func(i int) bool { return t.lines[i].First >= t.saved })
		if i == len(t.lines) {
			t.mu.Unlock()
			return nil
		}
		n := t.lines[i]
		t.mu.Unlock()
		data, err := json.Marshal(n)
		if err != nil {
			return err
		}
		sequence, err := append(ctx, tallyLog(t.stack), data)
		if err != nil {
			return fmt.Errorf("what %s does not get of the frames %d to %d: %w", t.stack, n.First, n.Last, err)
		}
		t.mu.Lock()
		for i := len(t.lines) - 1; i >= 0; i-- { // some may have been dropped meanwhile
			if t.lines[i].First == n.First {
				t.lines[i].sequence = sequence
				break
			}
		}
		t.saved = n.Last + 1
		t.mu.Unlock()
	}
}

// safe is the first frame that is still needed to count; frames below it are on durable lines. Without a rule none is.
func (t *tally) safe() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.page.first == 0 {
		return ^uint64(0)
	}
	return t.saved
}

// oldest is where in the log the lines begin that are still known.
func (t *tally) oldest() uint64 {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		return 0
	}
	return t.lines[0].sequence
}

// through returns what is left out of everything below frame. If frame lies inside a line of which there is no detail,
// line is that line, and the totals are those up to its beginning.
func (t *tally) through(frame uint64) (sum event.Totals, line *leftOut) {
	t.mu.Lock()
	defer t.mu.Unlock()
	below := func(p *page) event.Totals {
		sum := p.before
		sum.Merge(p.between(p.first, frame))
		return sum
	}
	if frame >= t.page.first {
		return below(&t.page), nil
	}
	if len(t.lines) == 0 {
		return t.page.before, nil
	}
	i := sort.Search(len(t.lines), func(i int) bool { return t.lines[i].Last >= frame })
	n := t.lines[min(i, len(t.lines)-1)]
	before := subtract(n.Through, n.Totals)
	if frame < n.First && before.Requests > 0 {
		return before, &n // older than what is kept
	}
	if frame <= n.First || n.Totals.Requests == 0 {
		return before, nil
	}
	for _, p := range t.detail {
		if p.first == n.First {
			return below(p), nil
		}
	}
	return before, &n
}

// remember keeps the detail of a line.
func (t *tally) remember(p *page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.detail = append(t.detail, p); len(t.detail) > keptPages {
		t.detail = append(t.detail[:0:0], t.detail[1:]...)
	}
}

// totals returns what is left out of the frames in [from, to), as far as it is counted. exact is false if only whole
// lines are known at an end of it.
func (t *tally) totals(from, to uint64) (left event.Totals, exact bool) {
	upper, a := t.through(to)
	lower, b := t.through(from)
	return subtract(upper, lower), a == nil && b == nil
}

// spans returns the runs of frames from first on of which something was left out: by lines, so that a run may be longer
// than what was.
func (t *tally) spans(first uint64) []event.Span {
	t.mu.Lock()
	defer t.mu.Unlock()
	var spans []event.Span
	add := func(from, to uint64, n uint64) {
		if n == 0 || to < first {
			return
		}
		if k := len(spans); k > 0 && spans[k-1].Last+1 >= from {
			spans[k-1].Last = to
			return
		}
		spans = append(spans, event.Span{First: max(from, first), Last: to})
	}
	for _, n := range t.lines {
		add(n.First, n.Last, n.Totals.Requests)
	}
	for i, x := range t.page.frames {
		add(t.page.first+uint64(i), t.page.first+uint64(i), x.Requests)
	}
	return spans
}

// adopt makes r the rule of what is journaled from now on. What is already in the journal keeps the rule it came under:
// which requests of a frame a stack gets never changes. It is durable on return.
func (f *feed) adopt(ctx context.Context, r Rule) error {
	b, err := f.journal.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("reading the journal's bounds: %w", err)
	}
	if f.account.rule(r, b.Last+1) {
		if err := f.save(ctx); err != nil {
			return fmt.Errorf("what %s is not to get cannot be written down: %w", f.stack.name, err)
		}
		f.telemetry.Log.Info("what the stack gets has changed", "stack", string(f.stack.name), "from", b.Last+1)
	}
	if first := f.account.ruled(); first > 0 {
		f.tally.begin(first)
	}
	return nil
}

// tallyUp brings the tally up to the account's cursor: from the window where it stands there, else from the journal.
func (f *feed) tallyUp(ctx context.Context) error {
	next := f.tally.next()
	end := f.account.at().Frame // frames below it are final
	if next == 0 || next >= end {
		return nil
	}
	for _, it := range f.window {
		if it.Last < end && it.First == f.tally.next() {
			f.tally.note(it.First, it.Last, f.leftOf(it))
		}
	}
	if next = f.tally.next(); next < end {
		if err := f.timelines.refresh(ctx); err != nil {
			return err
		}
		if err := f.eachItem(ctx, next, end-1, func(it item) { f.tally.note(it.First, it.Last, f.leftOf(it)) }); err != nil {
			return err
		}
	}
	return f.tally.settle(ctx, f.journal.AppendRecord)
}

// leftOf is what the rule leaves out of an item and did not expire. Where a part of a frame expired, only the number of
// requests is meaningful.
func (f *feed) leftOf(it item) event.Totals {
	if it.left.Requests == 0 {
		return event.Totals{}
	}
	left := it.left
	for _, x := range f.account.expiredIn(event.Cursor{Frame: it.Sequence}, event.AfterFrame(it.Sequence)) {
		kept := uint32(0)
		if x.From.Frame == it.Sequence {
			kept = x.From.Request
		}
		left = event.Totals{Requests: min(left.Requests, uint64(lengths(within(it.skip, 0, kept))))}
	}
	return left
}

// eachItem calls fn for the journal's items from first to last, in order and contiguous.
func (f *feed) eachItem(ctx context.Context, first, last uint64, fn func(item)) error {
	r := f.journal.Read(first)
	defer r.Close()
	for next := first; next <= last; {
		entries, err := r.Next(ctx, minBytes)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.First > last {
				return nil
			}
			it, err := f.item(e)
			if err != nil {
				return err
			}
			if it.Last > last {
				it.Last = last
			}
			fn(it)
			next = e.Last + 1
		}
	}
	return nil
}

// leftOut returns what the rule left out of the frames in [from, to); exact is false if frames at an end are gone and
// only whole lines are known.
func (f *feed) leftOut(ctx context.Context, from, to uint64) (left event.Totals, exact bool, err error) {
	if f.tally.next() == 0 {
		return left, true, nil
	}
	for _, edge := range []uint64{from, to} {
		_, n := f.tally.through(edge)
		if n == nil {
			continue
		}
		p := &page{first: n.First, before: subtract(n.Through, n.Totals)}
		err := f.eachItem(ctx, n.First, n.Last, func(it item) {
			if it.Kind != journal.Gap {
				p.frames = append(p.frames, f.leftOf(it))
			}
		})
		if err != nil {
			return left, false, err
		}
		if p.next() == n.Last+1 {
			f.tally.remember(p)
		}
	}
	left, exact = f.tally.totals(from, to)
	return left, exact, nil
}
