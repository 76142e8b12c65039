package mirror

import (
	"encoding/json"
	"fmt"

	"github.com/sparrowhq/sparrow/event"
)

// lineSpan is how many sequences one line of the ledger covers at most. A line ends where its last sequence is followed
// by a multiple of lineSpan; when space is short it may be cut earlier. So multiples of lineSpan are always edges:
//
//	sequence  …  1023 | 1024 … 2047 | 2048 … 2700 | 2701 … 3071 | 3072 …
//	line         ─────┘└───────────┘└── cut ─────┘└────────────┘└── open
const lineSpan = 1024

// edgeBelow is the highest multiple of lineSpan that is not above sequence.
func edgeBelow(sequence uint64) uint64 { return sequence - sequence%lineSpan }

// lineFormat is the format of a ledger line that this build writes, and the newest it reads.
const lineFormat = 1

// line sums up a run of sequences, and, so that reading the last one is enough to go on, everything before it.
type line struct {
	Format     int          `json:"format"`
	First      uint64       `json:"first"`
	Last       uint64       `json:"last"`
	Generation uint64       `json:"generation"` // of the last control record up to Last
	Totals     event.Totals `json:"totals"`
	Through    event.Totals `json:"through"` // of everything up to and including Last
}

// before is everything before the line.
func (l line) before() event.Totals { return subtract(l.Through, l.Totals) }

func decodeLine(data []byte) (line, error) {
	var l line
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("ledger line: %w", err)
	}
	if l.Format != lineFormat {
		return l, fmt.Errorf("ledger line of sequence %d has format %d, this build reads %d: run the newer build", l.First, l.Format, lineFormat)
	}
	if l.Last < l.First || l.Last-l.First >= lineSpan {
		return l, fmt.Errorf("ledger line of sequences %d to %d: it covers at most %d", l.First, l.Last, lineSpan)
	}
	return l, nil
}

// subtract returns t without the earlier part u of it. The times are t's: the earliest of what is left is not known.
func subtract(t, u event.Totals) event.Totals {
	t.Requests -= u.Requests
	t.Bytes -= u.Bytes
	lo := t.IDSum.Lo - u.IDSum.Lo
	hi := t.IDSum.Hi - u.IDSum.Hi
	if u.IDSum.Lo > t.IDSum.Lo {
		hi--
	}
	t.IDSum = event.Sum{Hi: hi, Lo: lo}
	if t.Requests == 0 {
		t.FirstAt, t.LastAt = 0, 0
	}
	return t
}

// page is the run of a line in detail.
type page struct {
	first      uint64
	frames     []event.Totals // from first on; zero for control records
	generation uint64
	before     event.Totals // of everything before first
}

// next is the first sequence after the page.
func (p *page) next() uint64 { return p.first + uint64(len(p.frames)) }

// between sums the part of [from, to) that lies on the page.
func (p *page) between(from, to uint64) event.Totals {
	from, to = max(from, p.first), min(to, p.next())
	var t event.Totals
	for s := from; s < to; s++ {
		t.Merge(p.frames[s-p.first])
	}
	return t
}

// line sums the page up.
func (p *page) line() line {
	l := line{Format: lineFormat, First: p.first, Last: p.next() - 1, Generation: p.generation, Totals: p.between(p.first, p.next())}
	l.Through = p.before
	l.Through.Merge(l.Totals)
	return l
}
