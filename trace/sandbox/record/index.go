package record

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
)

// index counts strings, in the order of their first appearance. It costs about 25 bytes beside the string itself,
// none of which the garbage collector has to look at: a Go map of a million ids takes twice as much and is scanned.
type index struct {
	seed    maphash.Seed
	slots   []uint32 // number of an entry + 1, 0 for free; open addressing, a power of two, at most half full
	entries []entry
	at      []int64  // when the entry was last marked, for indexes that ask; nil otherwise
	chunks  [][]byte // the strings, each whole in one chunk
}

type entry struct {
	place uint32 // chunk * chunkSize + offset: the strings of one index fit 4 GiB
	count uint32
	size  uint16
}

const (
	chunkBits = 20
	chunkSize = 1 << chunkBits
	maxString = 512 // longer ones are kept as their SHA-256: an id that long is nobody's to read
)

func newIndex(timed bool) *index {
	x := &index{seed: maphash.MakeSeed(), slots: make([]uint32, 64)}
	if timed {
		x.at = []int64{}
	}
	return x
}

func shorten(s string) string {
	if len(s) <= maxString {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// find returns the number of the entry of s, or -1, and the slot where it is or belongs.
func (x *index) find(s string) (n int, slot uint32) {
	mask := uint32(len(x.slots) - 1)
	for slot = uint32(maphash.String(x.seed, s)) & mask; x.slots[slot] != 0; slot = (slot + 1) & mask {
		n = int(x.slots[slot] - 1)
		if string(x.bytes(n)) == s {
			return n, slot
		}
	}
	return -1, slot
}

func (x *index) bytes(n int) []byte {
	e := x.entries[n]
	from := e.place & (chunkSize - 1)
	return x.chunks[e.place>>chunkBits][from : from+uint32(e.size)]
}

// count returns how often s was added.
func (x *index) count(s string) uint32 {
	if n, _ := x.find(shorten(s)); n >= 0 {
		return x.entries[n].count
	}
	return 0
}

// marked returns when s was last marked.
func (x *index) marked(s string) (at int64, ok bool) {
	if n, _ := x.find(shorten(s)); n >= 0 {
		return x.at[n], true
	}
	return 0, false
}

// add counts s, at a time if the index is timed, and returns how often it has been added. A string that is new is
// taken only if fits; add returns 0 if not.
func (x *index) add(s string, at int64, fits bool) uint32 {
	s = shorten(s)
	n, slot := x.find(s)
	if n < 0 {
		if !fits {
			return 0
		}
		place, ok := x.store(s)
		if !ok {
			return 0
		}
		n = len(x.entries)
		x.entries = append(x.entries, entry{place: place, size: uint16(len(s))})
		if x.at != nil {
			x.at = append(x.at, 0)
		}
		x.slots[slot] = uint32(n + 1)
		if len(x.entries)*2 > len(x.slots) {
			x.grow()
		}
	}
	x.entries[n].count++
	if x.at != nil {
		x.at[n] = at
	}
	return x.entries[n].count
}

func (x *index) store(s string) (place uint32, ok bool) {
	last := len(x.chunks) - 1
	if last < 0 || len(x.chunks[last])+len(s) > chunkSize {
		if last+1 >= 1<<(32-chunkBits) {
			return 0, false
		}
		// The first chunk starts small: most projects of most tests see a handful of ids.
		size := chunkSize
		if last < 0 {
			size = 4 << 10
		}
		x.chunks = append(x.chunks, make([]byte, 0, size))
		last++
	}
	place = uint32(last)<<chunkBits | uint32(len(x.chunks[last]))
	x.chunks[last] = append(x.chunks[last], s...)
	return place, true
}

func (x *index) grow() {
	x.slots = make([]uint32, 2*len(x.slots))
	mask := uint32(len(x.slots) - 1)
	for n := range x.entries {
		slot := uint32(maphash.Bytes(x.seed, x.bytes(n))) & mask
		for x.slots[slot] != 0 {
			slot = (slot + 1) & mask
		}
		x.slots[slot] = uint32(n + 1)
	}
}

// size returns the number of different strings.
func (x *index) size() int { return len(x.entries) }

// page returns up to limit counts from the entry numbered from.
func (x *index) page(from, limit int) []IDCount {
	if from >= len(x.entries) || from < 0 {
		return nil
	}
	limit = min(limit, len(x.entries)-from)
	out := make([]IDCount, limit)
	for i := range out {
		out[i] = IDCount{ID: string(x.bytes(from + i)), Count: x.entries[from+i].count}
	}
	return out
}
