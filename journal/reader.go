package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sparrowhq/sparrow/event"
)

// Kind says what an Entry is.
type Kind uint8

// The kinds of entries.
const (
	Frame   Kind = iota + 1 // a frame
	Control                 // a control record
	Gap                     // sequences whose frames were trimmed
)

func (k Kind) String() string {
	switch k {
	case Frame:
		return "frame"
	case Control:
		return "control"
	case Gap:
		return "gap"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Entry is the next one or more sequences of the journal.
type Entry struct {
	Sequence uint64       // of the frame or record; of a gap, its Last
	Kind     Kind         //
	Data     []byte       // the frame (nil from ReadTotals), or the control record; the receiver's
	Totals   event.Totals // of a frame
	First    uint64       // of a gap: first and last sequence in it; otherwise both are Sequence
	Last     uint64
}

// Reader reads the journal in order. It is for one goroutine, but Close may be called from any.
type Reader struct {
	mu     sync.Mutex // held during Next
	p      puller
	cancel context.CancelFunc
	open   context.Context // ends with Close

	silent  int // times in a row that the server had something, said nothing of it, and was alive
	replace int // consumers given up for that since something came
}

// silences is how often a reader hears that something is there and does not get it before it takes another consumer: about
// as many seconds. It becomes more each time, so that a machine that is only slow is not asked again and again.
const silences = 2

// Read returns a reader whose first entry begins at sequence from (0 is 1). It costs nothing until Next is called.
func (j *Journal) Read(from uint64) *Reader { return j.reader(from, false) }

// ReadTotals is Read without the frames' data.
func (j *Journal) ReadTotals(from uint64) *Reader { return j.reader(from, true) }

func (j *Journal) reader(from uint64, headersOnly bool) *Reader {
	r := &Reader{p: puller{j: j, stream: mainStream, headersOnly: headersOnly, next: max(from, 1)}}
	r.open, r.cancel = context.WithCancel(context.Background())
	return r
}

// Next returns the entries that are waiting, contiguous with those returned before: at least one, and otherwise no more
// than maxBytes of data. It blocks while there are none; the reader survives a restart of the server underneath.
//
// Errors: ctx's when it ends, and Next may be called again; ErrClosed; ErrPastEnd; an error that says how the stream is
// damaged. After any of the last three the reader is of no more use.
func (r *Reader) Next(ctx context.Context, maxBytes int) ([]Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.open, func() { cancel(ErrClosed) })()
	if maxBytes < 1 {
		maxBytes = 1
	}
	next := r.p.next
	for {
		if r.open.Err() != nil {
			return nil, ErrClosed
		}
		messages, err := r.p.pull(ctx, maxBytes)
		if errors.Is(err, errIdle) {
			var tail []Entry
			if tail, err = r.tail(ctx); err == nil && len(tail) > 0 {
				return tail, nil
			}
			if err == nil || errors.Is(err, ErrUnavailable) {
				continue
			}
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return nil, err
		}
		r.silent, r.replace = 0, 0
		entries := make([]Entry, 0, len(messages))
		for _, m := range messages {
			if m.sequence > next {
				gap, err := r.gap(ctx, next, m.sequence-1)
				if err != nil { // the messages come again
					r.p.next = next
					r.p.drop()
					if len(entries) > 0 {
						return entries, nil
					}
					return nil, err
				}
				entries = append(entries, gap...)
			}
			e, err := r.entry(m)
			if err != nil {
				return nil, err
			}
			entries = append(entries, e)
			next = m.sequence + 1
		}
		return entries, nil
	}
}

func (r *Reader) entry(m message) (Entry, error) {
	e := Entry{Sequence: m.sequence, First: m.sequence, Last: m.sequence}
	switch m.Subject {
	case controlSubject:
		e.Kind, e.Data = Control, m.Data
		if !r.p.headersOnly {
			return e, nil
		}
		// Asking for headers only leaves out the records' bytes as well.
		engine, _, err := r.p.j.engine()
		if err != nil {
			return e, err
		}
		raw, err := engine.nextFor(r.open, mainStream, controlSubject, m.sequence)
		if err != nil {
			return e, err
		}
		e.Data = raw.Data
		return e, nil
	case framesSubject:
		e.Kind = Frame
		if !r.p.headersOnly {
			e.Data = m.Data
		}
		var err error
		e.Totals, err = event.ParseTotals(m.Header.Get(totalsHeader))
		if err != nil {
			return e, fmt.Errorf("journal %s: frame %d: header %s: %w", r.p.j.id, m.sequence, totalsHeader, err)
		}
		return e, nil
	}
	return e, fmt.Errorf("journal %s: sequence %d has subject %q, which no build of Sparrow writes", r.p.j.id, m.sequence, m.Subject)
}

// gap returns the entries for sequences first to last, which the stream did not deliver. Only frames are ever trimmed,
// so a control record among them was passed over, and is an entry of its own.
func (r *Reader) gap(ctx context.Context, first, last uint64) ([]Entry, error) {
	e, _, err := r.p.j.engine()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for first <= last {
		m, err := e.nextFor(ctx, mainStream, controlSubject, first)
		if err != nil && !missing(err) {
			return nil, err
		}
		end := last
		if err == nil && m.Sequence <= last {
			end = m.Sequence - 1
		}
		if first <= end {
			entries = append(entries, Entry{Sequence: end, Kind: Gap, First: first, Last: end})
		}
		if end < last {
			entries = append(entries, Entry{Sequence: m.Sequence, Kind: Control, Data: m.Data, First: m.Sequence, Last: m.Sequence})
			end = m.Sequence
		}
		first = end + 1
	}
	return entries, nil
}

// tail returns the gap at the journal's end, where everything from the reader's place on was trimmed and nothing has
// been written since.
func (r *Reader) tail(ctx context.Context) ([]Entry, error) {
	e, _, err := r.p.j.engine()
	if err != nil {
		return nil, err
	}
	info, err := e.lookup(ctx, mainStream)
	if err != nil {
		return nil, err
	}
	last := info.State.LastSeq
	if last < r.p.next {
		r.silent = 0
		return nil, nil
	}
	if n, err := r.p.pending(ctx, e); err != nil || n > 0 {
		// Something is there, and the pull brings it; but a consumer may have lost its place while frames were trimmed under
		// it, and would keep a reader waiting until the pull ends.
		if err == nil && !r.p.fresh {
			if r.silent++; r.silent > silences<<min(r.replace, 4) {
				r.silent = 0
				r.replace++
				r.p.drop()
			}
		}
		return nil, err
	}
	if _, err = e.nextFor(ctx, mainStream, ">", r.p.next); !missing(err) {
		// The consumer takes for delivered what did not arrive, or has not noticed it yet; unless nobody has looked at what
		// arrived, which a consumer just made may well have delivered by now.
		if !r.p.fresh {
			r.p.drop()
		}
		return nil, err
	}
	entries, err := r.gap(ctx, r.p.next, last)
	if err == nil {
		r.p.next = last + 1
	}
	return entries, err
}

// Close lets go of the reader's connection and ends a Next that blocks, with ErrClosed.
func (r *Reader) Close() {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.hangUp()
}
