package compare

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Sources are the two places evidence comes from. Both are required.
type Sources struct {
	Pipeline  Pipeline
	Warehouse Warehouse
}

// Options configure Collect. The zero Options compare everything since the candidate was declared, without waiting.
type Options struct {
	Window    WindowSpec
	Stages    []warehouse.Stage // waited for beside raw, found or not: what the policy names; empty: every stage that live has
	Wait      time.Duration     // how long to wait for the window to close; 0: not at all
	Poll      time.Duration     // between two looks while waiting; 0: 200 ms
	Progress  func(Progress)    // told after each look, from the calling goroutine; nil: nobody
	Examples  int               // per event name and kind; 0: 5
	Events    int               // event names listed singly; 0: 5,000
	Exact     bool              // read every row, whatever digests say
	PieceRows uint64            // rows read by one statement of the first pass, about; 0: 1,000,000
	ChunkRows uint64            // rows joined in one statement; 0: 1,000,000
	AtOnce    int               // statements that run at the same time; 0: 2
	QueryWait time.Duration     // bound of one statement; 0: 5 minutes
	Now       func() time.Time  // nil: time.Now
}

func (o Options) withDefaults() Options {
	if o.Poll <= 0 {
		o.Poll = 200 * time.Millisecond
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Examples <= 0 {
		o.Examples = 5
	}
	if o.Events <= 0 {
		o.Events = 5000
	}
	if o.PieceRows == 0 {
		o.PieceRows = 1_000_000 // enough that beginning a statement costs nothing, few enough that all end at about the same time
	}
	if o.ChunkRows == 0 {
		o.ChunkRows = 1_000_000
	}
	if o.AtOnce <= 0 {
		o.AtOnce = 2 // half of the places that the engine on a file has by default: others may query meanwhile
	}
	if o.QueryWait <= 0 {
		o.QueryWait = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Progress is what a waiting Collect last saw.
type Progress struct {
	Window    Window
	Open      []string // why the window is not closed yet; empty: it is
	Waited    time.Duration
	Live      event.Cursor // stored so far
	Candidate event.Cursor
}

// collector gathers one Evidence.
type collector struct {
	Sources
	o       Options
	sql     dialect // of the warehouse; see speak
	undated dialect // the same, for what lies outside the window; see date
	ev      *Evidence

	recent int64 // before it, digests tell which names occurred; see outside

	digests coverage // what need not be read row by row

	telling sync.Mutex // held while a row of an answer is looked at

	late map[stageAt]event.Cursor // how many corrections there were of each stage when the reading began
}

// Collect reads the evidence for one window. With Options.Wait it first waits until the window is closed; when that
// takes too long it returns the evidence as far as it goes together with a *WaitError.
//
// Errors: *UsageError, *UnreadableError, *WaitError, or the context's. Evidence is nil with any error but *WaitError.
func Collect(ctx context.Context, s Sources, o Options) (*Evidence, error) {
	c := &collector{Sources: s, o: o.withDefaults(), ev: &Evidence{Schema: Schema, Events: []Event{}}}
	st, err := c.state(ctx)
	if err != nil {
		return nil, err
	}
	w, err := c.o.Window.resolve(ctx, st, s.Pipeline, c.o.Now())
	if err != nil {
		return nil, err
	}
	c.ev.Window = w
	c.ev.identify(st)
	st, late, err := c.await(ctx, st)
	if err != nil {
		return nil, err
	}
	if err := c.gather(ctx); err != nil {
		return nil, err
	}
	if err := c.settle(ctx, st); err != nil {
		return nil, err
	}
	c.ev.At = c.o.Now().UnixMicro()
	if late != nil {
		return c.ev, late
	}
	return c.ev, nil
}

// identify notes which journal, history and declaration the evidence is about.
func (ev *Evidence) identify(st state) {
	head, _ := st.timeline.Head()
	ev.Journal, ev.Generation, ev.Head = st.Journal.ID, head.Generation, head.Hash()
	if since, declared := Declared(st.timeline); declared {
		ev.Declared = Declaration{Build: since.Candidate, Sequence: since.Sequence}
	}
}

// state reads status and history until they agree, which they do unless a decision falls between the two reads.
func (c *collector) state(ctx context.Context) (state, error) {
	for range 3 {
		st, err := c.Pipeline.Status(ctx)
		if err != nil {
			return state{}, c.mirrorError(ctx, err)
		}
		tl, err := c.Pipeline.Timeline(ctx)
		if err != nil {
			return state{}, c.mirrorError(ctx, err)
		}
		head, ok := tl.Head()
		if !ok {
			return state{}, c.mirrorError(ctx, errors.New("its control history is empty"))
		}
		if head.Generation == st.Generation && head.Live == st.Live {
			return state{Status: st, timeline: tl}, nil
		}
	}
	return state{}, c.mirrorError(ctx, errors.New("its status and its control history do not agree, three times in a row"))
}

func (c *collector) mirrorError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &UnreadableError{Side: "mirror", Err: err}
}

// cursors reads how far each side has stored each stage. It comes before any row is read: what lies below a cursor no
// longer changes, but by a correction, which has a cursor of its own.
func (c *collector) cursors(ctx context.Context, st state) error {
	l, k := st.roles()
	for _, s := range []struct {
		stack event.Stack
		side  *Side
	}{{l, &c.ev.Live}, {k, &c.ev.Candidate}} {
		at, err := c.Warehouse.Cursor(ctx, s.stack, 0, warehouse.Raw)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &UnreadableError{Side: "warehouse", Err: err}
		}
		s.side.Stored[warehouse.Raw] = at
	}
	if err := c.speak(ctx); err != nil {
		return err
	}
	return c.stages(ctx)
}

// await looks until the window is closed or the wait is over. While waiting, a mirror or warehouse that does not answer
// may come back; without a wait it is an error at once.
func (c *collector) await(ctx context.Context, st state) (state, error, error) {
	began := c.o.Now()
	tick := time.NewTimer(0)
	defer tick.Stop()
	<-tick.C
	for {
		p := Progress{Window: c.ev.Window, Waited: c.o.Now().Sub(began)}
		seen, err := c.look(ctx, st, &p)
		if ctx.Err() != nil {
			return st, nil, context.Cause(ctx)
		}
		if err == nil {
			st = seen
		} else {
			p.Open = []string{err.Error()}
		}
		c.o.Progress(p)
		switch over := p.Waited >= c.o.Wait; {
		case len(p.Open) == 0:
			return st, nil, nil
		case over && err != nil:
			return st, nil, err
		case over && c.o.Wait == 0:
			return st, nil, nil
		case over:
			return st, &WaitError{Waited: c.o.Wait, Open: p.Open}, nil
		}
		tick.Reset(min(c.o.Poll, c.o.Wait-p.Waited))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return st, nil, context.Cause(ctx)
		}
	}
}

// look reads the present state and both cursors into the evidence and says what stands open.
func (c *collector) look(ctx context.Context, before state, p *Progress) (state, error) {
	st, err := c.state(ctx)
	if err != nil {
		return st, err
	}
	live, candidate := st.roles()
	c.ev.Live = side(st, live)
	c.ev.Candidate = side(st, candidate)
	if err := c.cursors(ctx, st); err != nil {
		return st, err
	}
	p.Live, p.Candidate = c.ev.Live.Stored[warehouse.Raw], c.ev.Candidate.Stored[warehouse.Raw]
	if c.ev.Window.Empty() || st.Generation != before.Generation || c.ev.Live.rowless() || c.ev.Candidate.rowless() {
		return st, nil // waiting longer brings nothing: the verdict will say why
	}
	if st.Journal.LastFrame < c.ev.Window.Last {
		p.Open = append(p.Open, fmt.Sprintf("the journal ends at frame %d, the window at %d", st.Journal.LastFrame, c.ev.Window.Last))
	}
	for _, o := range c.ev.open(Policy{Stages: c.o.Stages}.Needed(c.ev)) {
		p.Open = append(p.Open, o.text)
	}
	return st, nil
}

func side(st state, s event.Stack) Side {
	is := st.Stacks[s]
	out := Side{Stack: s, Build: is.Build, Reachable: is.Reachable, Error: is.Error, Protocol: is.Protocol, Feed: is.Cursor,
		Stored: map[warehouse.Stage]event.Cursor{}, Builds: []BuildSeen{}}
	if is.Blocked && out.Error == "" {
		out.Error = "its feed waits for a person: see sparrow deploy status"
	}
	return out
}

// settle checks that nothing moved while the evidence was read.
func (c *collector) settle(ctx context.Context, before state) error {
	st, err := c.state(ctx)
	if err != nil {
		return err
	}
	moved := func(format string, args ...any) {
		c.ev.Unsettled = append(c.ev.Unsettled, fmt.Sprintf(format, args...))
	}
	if st.Journal.ID != before.Journal.ID {
		moved("the mirror's journal became another while it was being read")
	}
	if head, _ := st.timeline.Head(); head.Hash() != c.ev.Head {
		moved("somebody decided meanwhile: the history went from generation %d to %d; run it again", c.ev.Generation, st.Generation)
	}
	for _, s := range event.Stacks() {
		if was, is := before.Stacks[s].Build, st.Stacks[s].Build; was.ID != "" && is.ID != "" && was.ID != is.ID {
			moved("%s runs another build than when the reading began: %.12s, now %.12s", s, was.ID, is.ID)
		}
	}
	if _, err := c.expired(ctx); err != nil { // meanwhile
		return err
	}
	return c.corrected(ctx)
}
