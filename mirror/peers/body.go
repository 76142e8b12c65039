package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// bodySize is the length of every body sent: 230 bytes, an ordinary page view.
const bodySize = 230

const idDigits = 12

var idMark = []byte(`"messageId":"`)

// body returns the body of request number id. Only the digits differ, so the load can patch them in place.
func body(id uint64) []byte {
	b := fmt.Appendf(nil, `{"event":"pageview",%s%0*d","deviceId":"0191b2c3-4d5e-7f60-8a9b-0c1d2e3f4a5b","properties":{"pathname":"/pricing","title":"`, idMark, idDigits, id)
	return append(append(b, bytes.Repeat([]byte("x"), bodySize-len(b)-3)...), `"}}`...)
}

// idOffset is where the digits stand in every body.
var idOffset = bytes.Index(body(0), idMark) + len(idMark)

// idOf reads the number of a body.
func idOf(b []byte) (uint64, error) {
	if len(b) != bodySize {
		return 0, fmt.Errorf("body of %d bytes, want %d", len(b), bodySize)
	}
	return strconv.ParseUint(string(b[idOffset:idOffset+idDigits]), 10, 64)
}

// patch writes id's digits over those of b, which holds a body from offset at on.
func patch(b []byte, at int, id uint64) {
	for i := idDigits - 1; i >= 0; i-- {
		b[at+idOffset+i] = byte('0' + id%10)
		id /= 10
	}
}

// set is a set of small integers: a bit each.
type set struct {
	bits []uint64
	n    uint64
	more uint64 // additions of what was there already
}

func (s *set) add(id uint64) {
	word := id / 64
	for uint64(len(s.bits)) <= word {
		s.bits = append(s.bits, make([]uint64, 1<<14)...)
	}
	if s.bits[word]&(1<<(id%64)) != 0 {
		s.more++
		return
	}
	s.bits[word] |= 1 << (id % 64)
	s.n++
}

func (s *set) has(id uint64) bool {
	word := id / 64
	return word < uint64(len(s.bits)) && s.bits[word]&(1<<(id%64)) != 0
}
