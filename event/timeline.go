package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// Kind says what a control record does.
type Kind string

// The kinds of control records.
const (
	Initial   Kind = "initial"   // the journal's first message: green is live
	Candidate Kind = "candidate" // declares the candidate build: a new window begins, roles stay
	Cutover   Kind = "cutover"   // the candidate stack becomes live
	Rollback  Kind = "rollback"  // the other stack becomes live again, from this or an earlier frame on
)

// Build identifies what a stack runs.
type Build struct {
	ID      string `json:"id"`      // hexadecimal sha256 of binary and pipeline configuration
	Version string `json:"version"` // what people read
}

// ControlFormat is the control record format this build writes, and the newest it reads.
const ControlFormat = 1

// Control is a control record: the only thing that decides which stack is live. Records travel in the same stream as
// the frames, form a hash chain, and are never deleted.
type Control struct {
	Format     int    `json:"format"`
	Generation uint64 `json:"generation"` // 1, then one more each record
	Kind       Kind   `json:"kind"`
	Live       Stack  `json:"live"`           // live after this record
	From       uint64 `json:"from,omitempty"` // first frame it applies to; 0: the frames after this record
	Candidate  Build  `json:"candidate"`      // declared build of the candidate stack; zero: none declared
	LiveBuild  Build  `json:"liveBuild"`      // what the live stack ran when the record was written
	Verdict    string `json:"verdict,omitempty"`
	Forced     bool   `json:"forced,omitempty"`
	Holes      []Span `json:"holes,omitempty"` // accepted with --accept-holes
	Reason     string `json:"reason,omitempty"`
	Actor      string `json:"actor,omitempty"`
	At         int64  `json:"at"`       // microseconds since the epoch
	Previous   string `json:"previous"` // hexadecimal sha256 of the previous record's bytes; empty for the first
}

// Record is a control record with its place in the stream.
type Record struct {
	Sequence uint64
	Bytes    []byte // as journaled
	Control
}

// Hash is the hexadecimal sha256 of the record's bytes, which the next record names.
func (r Record) Hash() string {
	h := sha256.Sum256(r.Bytes)
	return hex.EncodeToString(h[:])
}

// Entry is the record's wire form.
func (r Record) Entry() *ControlEntry { return &ControlEntry{Sequence: r.Sequence, Record: r.Bytes} }

// first is the first frame the record assigns.
func (r Record) first() uint64 {
	if r.From != 0 {
		return r.From
	}
	return r.Sequence + 1
}

// assigns reports whether the record says who is live, as opposed to restating it.
func (r Record) assigns() bool { return r.Kind != Candidate }

// Encode returns the record's bytes. Field order and spelling are fixed by the struct, so equal records have equal
// bytes.
func (c Control) Encode() ([]byte, error) { return json.Marshal(c) }

// DecodeRecord decodes a control record found at sequence. The record keeps data, which must not change afterwards.
func DecodeRecord(sequence uint64, data []byte) (Record, error) {
	r := Record{Sequence: sequence, Bytes: data}
	if err := json.Unmarshal(data, &r.Control); err != nil {
		return Record{}, fmt.Errorf("control record at %d: %w", sequence, err)
	}
	if r.Format != ControlFormat {
		return Record{}, fmt.Errorf("control record at %d: format %d, this build reads %d; run the newer build", sequence, r.Format, ControlFormat)
	}
	switch r.Kind {
	case Initial, Candidate, Cutover, Rollback:
	default:
		return Record{}, fmt.Errorf("control record at %d: unknown kind %q; run the newer build", sequence, r.Kind)
	}
	if _, err := ParseStack(string(r.Live)); err != nil {
		return Record{}, fmt.Errorf("control record at %d: live: %w", sequence, err)
	}
	if r.From > sequence {
		return Record{}, fmt.Errorf("control record at %d: from %d lies ahead of it", sequence, r.From)
	}
	return r, nil
}

// Timeline is the list of control records. The role of every frame is a pure function of it.
//
// The zero Timeline is empty. A Timeline is immutable; Append returns a longer one.
type Timeline struct{ records []Record }

// Append returns the timeline with r at its end. It refuses a record that does not continue the chain. An initial
// record above the head begins a chain of its own: that of a new journal, whose frames lie above the old one's.
func (t Timeline) Append(r Record) (Timeline, error) {
	head, ok := t.Head()
	restart := ok && r.Kind == Initial && r.Sequence > head.Sequence // a new journal, above the old one's frames
	switch {
	case (!ok || restart) && (r.Kind != Initial || r.Generation != 1 || r.Previous != ""):
		return t, fmt.Errorf("control record at %d: a journal's first record must be initial, generation 1; got %s, %d", r.Sequence, r.Kind, r.Generation)
	case restart:
	case ok && r.Sequence <= head.Sequence:
		return t, fmt.Errorf("control record at %d: not after %d", r.Sequence, head.Sequence)
	case ok && r.Generation != head.Generation+1:
		return t, fmt.Errorf("control record at %d: generation %d after %d", r.Sequence, r.Generation, head.Generation)
	case r.Kind == Candidate && r.Live != head.Live:
		return t, fmt.Errorf("control record at %d: declares a candidate and names %s as live, which is %s: only a cutover or a rollback changes roles", r.Sequence, r.Live, head.Live)
	case ok && r.Previous != head.Hash():
		return t, fmt.Errorf("control record at %d: names %.12s as its predecessor, which is %.12s: the chain is broken", r.Sequence, r.Previous, head.Hash())
	}
	return Timeline{records: append(slices.Clip(t.records), r)}, nil
}

// Records returns the records by sequence. The caller must not change them.
func (t Timeline) Records() []Record { return t.records }

// Head returns the last record.
func (t Timeline) Head() (Record, bool) {
	if len(t.records) == 0 {
		return Record{}, false
	}
	return t.records[len(t.records)-1], true
}

// Live returns the stack that is live now, for frames still to come.
func (t Timeline) Live() Stack {
	head, _ := t.Head()
	return head.Live
}

// At returns the stack that is live for frame, and the generation of the record that says so, by everything known
// today: a later rollback --from may have reassigned frames already past. This is what the views show.
func (t Timeline) At(frame uint64) (Stack, uint64) {
	return t.at(frame, ^uint64(0))
}

// AtHandover returns the same as it stood when the frame was journaled: by the records before it in the stream. It
// never changes, whatever comes later, so a frame delivered twice is stamped the same twice. This is what trackers
// act on.
func (t Timeline) AtHandover(frame uint64) (Stack, uint64) {
	return t.at(frame, frame)
}

func (t Timeline) at(frame, before uint64) (Stack, uint64) {
	for i := len(t.records) - 1; i >= 0; i-- {
		r := t.records[i]
		if r.assigns() && r.Sequence < before && r.first() <= frame {
			return r.Live, r.Generation
		}
	}
	return "", 0
}

// Span is a range of frames, both ends included; Last is 0 for a range still growing.
type Span struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last,omitempty"`
}

// Spans returns the frames for which stack is live, in order and disjoint. The spans of both stacks cover every frame
// after the first record, each exactly once.
func (t Timeline) Spans(stack Stack) []Span {
	var starts []uint64
	for _, r := range t.records {
		if r.assigns() {
			starts = append(starts, r.first())
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	var spans []Span
	for i, first := range starts {
		if live, _ := t.At(first); live != stack {
			continue
		}
		last := uint64(0)
		if i+1 < len(starts) {
			last = starts[i+1] - 1
		}
		if n := len(spans); n > 0 && spans[n-1].Last == first-1 {
			spans[n-1].Last = last
			continue
		}
		spans = append(spans, Span{First: first, Last: last})
	}
	return spans
}
