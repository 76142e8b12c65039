package event

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/textproto"
	"strings"

	"github.com/google/uuid"
)

// ByRequestID chooses each request by itself.
const ByRequestID = "request-id"

// SampleBuckets is how many equal parts all requests fall into; the resolution of a percentage is 0.0001.
const SampleBuckets = 1_000_000

// Sample says which requests a stack gets while it is the candidate: a percentage of them. The same request is chosen in
// every process and every build, and anybody can tell which they are:
//
//	by request-id      bucket = the last 15 hexadecimal digits of the request id, as an integer, mod 1,000,000
//	by header NAME     bucket = the first 8 bytes of sha256(the header's first value), big-endian, mod 1,000,000;
//	                   by request-id for a request without the header
//	kept               if bucket < percent × 10,000
//
// Those digits of a request id are random, so they need no hash, and SQL can compute the first form.
type Sample struct {
	Percent float64 `json:"percent"` // kept; 0 to 100, to four decimals
	By      string  `json:"by"`      // ByRequestID, or the canonical name of a journaled header
}

// ParseSample reads by as it is configured: "request-id", or "header NAME".
func ParseSample(percent float64, by string) (Sample, error) {
	if !(percent >= 0 && percent <= 100) {
		return Sample{}, fmt.Errorf("%v percent: want a number from 0 to 100", percent)
	}
	if by == "" || by == ByRequestID {
		return Sample{Percent: percent, By: ByRequestID}, nil
	}
	name, ok := strings.CutPrefix(by, "header ")
	if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " :\r\n") {
		return Sample{}, fmt.Errorf("by %q: want request-id, or header NAME", by)
	}
	return Sample{Percent: percent, By: textproto.CanonicalMIMEHeaderKey(name)}, nil
}

// All reports whether every request is kept.
func (s Sample) All() bool { return s.Threshold() >= SampleBuckets }

// Threshold is the first bucket that is not kept.
func (s Sample) Threshold() uint64 { return uint64(math.Round(s.Percent * SampleBuckets / 100)) }

// Keeps reports whether the request is kept. r needs its id, and, unless s is by request-id, its headers.
func (s Sample) Keeps(r *Request) bool {
	bucket := IDTail(uuid.UUID(r.Id)) % SampleBuckets
	if s.By != ByRequestID {
		for _, h := range r.Headers {
			if h.Name == s.By {
				sum := sha256.Sum256(h.Value)
				bucket = binary.BigEndian.Uint64(sum[:]) % SampleBuckets
				break
			}
		}
	}
	return bucket < s.Threshold()
}
