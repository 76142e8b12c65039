package event_test

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"testing"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
)

// recomputed is Sample.Keeps as its documentation tells it, in other words.
func recomputed(s event.Sample, id uuid.UUID, header string, has bool) bool {
	text := id.String()
	digits := text[20:23] + text[24:] // the last 15
	bucket, _ := new(big.Int).SetString(digits, 16)
	if s.By != event.ByRequestID && has {
		bucket, _ = new(big.Int).SetString(fmt.Sprintf("%x", sha256.Sum256([]byte(header)))[:16], 16)
	}
	return bucket.Mod(bucket, big.NewInt(1_000_000)).Int64() < int64(s.Percent*10_000+0.5)
}

func TestSampleIsWhatAnybodyComputes(t *testing.T) {
	for _, percent := range []float64{0, 0.0001, 1, 12.5, 50, 99.9999, 100} {
		for _, by := range []string{"request-id", "header x-device"} {
			s, err := event.ParseSample(percent, by)
			if err != nil {
				t.Fatal(err)
			}
			kept := 0
			for i := range 4000 {
				id := uuid.Must(uuid.NewV7())
				r := &event.Request{Id: id[:]}
				header, has := "device-"+strconv.Itoa(i), i%4 != 0
				if has {
					r.Headers = []*event.Header{{Name: "Accept", Value: []byte("x")}, {Name: "X-Device", Value: []byte(header)}}
				}
				got := s.Keeps(r)
				if want := recomputed(s, id, header, has); got != want {
					t.Fatalf("%v, id %v, header %q %v: kept %v, want %v", s, id, header, has, got, want)
				}
				if got {
					kept++
				}
			}
			// Six standard deviations of a binomial of 4,000.
			p := percent / 100
			want, room := percent*40, 6*math.Sqrt(4000*p*(1-p))
			if d := float64(kept) - want; d > room+1 || d < -room-1 {
				t.Errorf("%v keeps %d of 4000, want about %v", s, kept, want)
			}
		}
	}
}

// Sticky: one device is kept or left out whatever else differs.
func TestSampleIsSticky(t *testing.T) {
	s, _ := event.ParseSample(30, "header X-Device")
	for d := range 50 {
		value := []byte(strconv.Itoa(d))
		first := uuid.Must(uuid.NewV7())
		want := s.Keeps(&event.Request{Id: first[:], Headers: []*event.Header{{Name: "X-Device", Value: value}}})
		for range 20 {
			id := uuid.Must(uuid.NewV7())
			if s.Keeps(&event.Request{Id: id[:], Headers: []*event.Header{{Name: "X-Device", Value: value}}}) != want {
				t.Fatalf("device %d is kept once and left out once", d)
			}
		}
	}
}

func TestParseSampleRefuses(t *testing.T) {
	for _, x := range []struct {
		percent float64
		by      string
	}{{-1, ""}, {101, ""}, {50, "cookie"}, {50, "header "}, {50, "header a b"}, {50, "header"}} {
		if s, err := event.ParseSample(x.percent, x.by); err == nil {
			t.Errorf("%v %q: %v", x.percent, x.by, s)
		}
	}
}
