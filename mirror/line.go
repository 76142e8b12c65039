package mirror

import (
	"encoding/json"
	"fmt"

	"github.com/sparrowhq/sparrow/event"
)

// bucketSize is how many sequences one line of the ledger covers. Bucket k holds the sequences
// [bucketSize*k, bucketSize*(k+1)-1].
const bucketSize = 1024

func bucketOf(sequence uint64) uint64 { return sequence / bucketSize }

// lineFormat is the format of a ledger line that this build writes, and the newest it reads.
const lineFormat = 1

// line is one bucket of the ledger, and, so that reading the last one is enough to go on, everything before it.
type line struct {
	Format     int          `json:"format"`
	Bucket     uint64       `json:"bucket"`
	Generation uint64       `json:"generation"` // of the last control record before the bucket's end
	Totals     event.Totals `json:"totals"`
	Through    event.Totals `json:"through"` // of everything up to and including this bucket
}

func (l line) first() uint64 { return l.Bucket * bucketSize }
func (l line) last() uint64  { return l.Bucket*bucketSize + bucketSize - 1 }

// before is everything before the bucket.
func (l line) before() event.Totals { return subtract(l.Through, l.Totals) }

func decodeLine(data []byte) (line, error) {
	var l line
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("ledger line: %w", err)
	}
	if l.Format != lineFormat {
		return l, fmt.Errorf("ledger line of bucket %d has format %d, this build reads %d: run the newer build", l.Bucket, l.Format, lineFormat)
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

// bucket is one bucket in detail.
type bucket struct {
	number     uint64
	generation uint64
	frames     [bucketSize]event.Totals // by sequence within the bucket; zero for control records and what is not read yet
	before     event.Totals             // of everything before the bucket
}

// upTo sums the frames below sequence, which lies in the bucket or just after it.
func (b *bucket) upTo(sequence uint64) event.Totals {
	var t event.Totals
	for _, f := range b.frames[:min(sequence-b.number*bucketSize, bucketSize)] {
		t.Merge(f)
	}
	return t
}

// from sums the frames from sequence on.
func (b *bucket) from(sequence uint64) event.Totals {
	var t event.Totals
	for _, f := range b.frames[min(sequence-b.number*bucketSize, bucketSize):] {
		t.Merge(f)
	}
	return t
}

// line closes the bucket.
func (b *bucket) line() line {
	l := line{Format: lineFormat, Bucket: b.number, Generation: b.generation, Totals: b.upTo((b.number + 1) * bucketSize)}
	l.Through = b.before
	l.Through.Merge(l.Totals)
	return l
}
