package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Totals sums up requests without naming them. Two sides that saw the same requests have equal totals; a lost, doubled
// or foreign request changes Requests or IDSum.
type Totals struct {
	Requests uint64 `json:"requests"`
	Bytes    uint64 `json:"bytes"`   // of bodies, as received
	FirstAt  int64  `json:"firstAt"` // received-at of the earliest, microseconds since the epoch; 0 when empty
	LastAt   int64  `json:"lastAt"`
	IDSum    Sum    `json:"idSum"` // SUM of IDTail
}

// Add counts one request.
func (t *Totals) Add(id uuid.UUID, body int, receivedAt int64) {
	t.Merge(Totals{Requests: 1, Bytes: uint64(body), FirstAt: receivedAt, LastAt: receivedAt, IDSum: Sum{Lo: IDTail(id)}})
}

// Merge adds all of u.
func (t *Totals) Merge(u Totals) {
	if u.Requests == 0 {
		return
	}
	if t.Requests == 0 {
		t.FirstAt, t.LastAt = u.FirstAt, u.LastAt
	}
	t.FirstAt = min(t.FirstAt, u.FirstAt)
	t.LastAt = max(t.LastAt, u.LastAt)
	t.Requests += u.Requests
	t.Bytes += u.Bytes
	t.IDSum = t.IDSum.Add(u.IDSum)
}

// String is the compact form carried in a journal message's header: "requests bytes firstAt lastAt idSum".
func (t Totals) String() string {
	b := make([]byte, 0, 80)
	b = append(strconv.AppendUint(b, t.Requests, 10), ' ')
	b = append(strconv.AppendUint(b, t.Bytes, 10), ' ')
	b = append(strconv.AppendInt(b, t.FirstAt, 10), ' ')
	b = append(strconv.AppendInt(b, t.LastAt, 10), ' ')
	return string(append(b, t.IDSum.String()...))
}

// ParseTotals reads what String wrote. It runs for every frame every reader gets, hence no fmt.
func ParseTotals(s string) (Totals, error) {
	fields := strings.Split(s, " ")
	if len(fields) != 5 {
		return Totals{}, fmt.Errorf("totals %q: %d fields, want 5", s, len(fields))
	}
	var t Totals
	var errs [5]error
	t.Requests, errs[0] = strconv.ParseUint(fields[0], 10, 64)
	t.Bytes, errs[1] = strconv.ParseUint(fields[1], 10, 64)
	t.FirstAt, errs[2] = strconv.ParseInt(fields[2], 10, 64)
	t.LastAt, errs[3] = strconv.ParseInt(fields[3], 10, 64)
	t.IDSum, errs[4] = ParseSum(fields[4])
	if err := errors.Join(errs[:]...); err != nil {
		return Totals{}, fmt.Errorf("totals %q: %w", s, err)
	}
	return t, nil
}

// IDTail is the last 15 hexadecimal digits of a request id as an integer: 60 random bits that fit a signed 64-bit
// column in every warehouse.
func IDTail(id uuid.UUID) uint64 {
	var n uint64
	for _, b := range id[8:] {
		n = n<<8 | uint64(b)
	}
	return n & (1<<60 - 1)
}

// Sum is an unsigned 128-bit integer: room for 2^68 request ids. Its JSON form is a decimal string, since JSON readers
// round large numbers.
type Sum struct{ Hi, Lo uint64 }

// Add returns s + t.
func (s Sum) Add(t Sum) Sum {
	lo, carry := bits.Add64(s.Lo, t.Lo, 0)
	hi, _ := bits.Add64(s.Hi, t.Hi, carry)
	return Sum{Hi: hi, Lo: lo}
}

// String writes a decimal.
func (s Sum) String() string {
	if s.Hi == 0 {
		return strconv.FormatUint(s.Lo, 10)
	}
	n := new(big.Int).SetUint64(s.Hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(s.Lo)).String()
}

// maxSumDigits is the length of 2^128-1.
const maxSumDigits = 39

// ParseSum reads a decimal: digits only, at most 39 of them.
func ParseSum(text string) (Sum, error) {
	// The length is checked first: reading a decimal takes time with the square of its length.
	if text == "" || len(text) > maxSumDigits || strings.Trim(text, "0123456789") != "" {
		return Sum{}, fmt.Errorf("sum %.50q: want a decimal below 2^128", text)
	}
	if lo, err := strconv.ParseUint(text, 10, 64); err == nil {
		return Sum{Lo: lo}, nil
	}
	n, _ := new(big.Int).SetString(text, 10)
	if n.BitLen() > 128 {
		return Sum{}, fmt.Errorf("sum %.50q: want a decimal below 2^128", text)
	}
	lo := new(big.Int).And(n, new(big.Int).SetUint64(^uint64(0))).Uint64()
	return Sum{Hi: n.Rsh(n, 64).Uint64(), Lo: lo}, nil
}

// MarshalJSON writes a decimal string.
func (s Sum) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON reads a decimal string.
func (s *Sum) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	var err error
	*s, err = ParseSum(text)
	return err
}
