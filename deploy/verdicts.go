package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sparrowhq/sparrow/compare"
)

// verdictLog is the name of the log that keeps verdicts.
const verdictLog = "verdict"

// storedFormat is the format of a stored verdict that this build writes, and the newest it reads.
const storedFormat = 1

// stored is a verdict as the log keeps it. Its id is the hash of the report, so a control record that names a verdict
// vouches for every byte of it.
type stored struct {
	Format int             `json:"format"`
	At     int64           `json:"at"` // when the server judged it, microseconds since the epoch
	Actor  string          `json:"actor,omitempty"`
	Report json.RawMessage `json:"report"` // compare.Report without its id
}

func (s stored) id() string {
	h := sha256.Sum256(s.Report)
	return hex.EncodeToString(h[:16])
}

// Verdict is one line of the list of verdicts.
type Verdict struct {
	ID string `json:"id"`
	At int64  `json:"at"` // when the server judged it, microseconds since the epoch
	compare.Verdict
}

// keptVerdicts bounds the verdicts held in memory; older ones stay in the log.
const keptVerdicts = 1000

// verdicts is the log of verdicts and what of it is needed at hand.
type verdicts struct {
	log Log

	mu     sync.Mutex
	next   uint64          // guarded by mu: sequences below are read
	list   []Verdict       // guarded by mu: the last ones, oldest first
	latest *compare.Report // guarded by mu: in full
}

// put stores a report and returns it with its id.
func (v *verdicts) put(ctx context.Context, r compare.Report, at int64, actor string) (compare.Report, error) {
	r.ID = ""
	report, err := json.Marshal(r)
	if err != nil {
		return r, fmt.Errorf("verdict: %w", err)
	}
	s := stored{Format: storedFormat, At: at, Actor: actor, Report: report}
	data, err := json.Marshal(s)
	if err != nil {
		return r, fmt.Errorf("verdict: %w", err)
	}
	if _, err := v.log.AppendRecord(ctx, verdictLog, data); err != nil {
		return r, fmt.Errorf("the verdict could not be kept: %w", err)
	}
	r.ID = s.id()
	return r, nil
}

// read takes in what came into the log since the last call, by whichever mirror.
func (v *verdicts) read(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.log.Records(ctx, verdictLog, v.next, func(seq uint64, value []byte) error {
		r, s, err := decodeStored(value)
		if err != nil {
			return fmt.Errorf("verdict %d of the log: %w", seq, err)
		}
		v.next = seq + 1
		v.latest = &r
		v.list = append(v.list, Verdict{ID: r.ID, At: s.At, Verdict: r.Verdict})
		if len(v.list) > keptVerdicts {
			v.list = slices.Delete(v.list, 0, len(v.list)-keptVerdicts)
		}
		return nil
	})
}

func decodeStored(value []byte) (compare.Report, stored, error) {
	var s stored
	var r compare.Report
	if err := json.Unmarshal(value, &s); err != nil {
		return r, s, err
	}
	if s.Format != storedFormat {
		return r, s, fmt.Errorf("format %d, this build reads %d: run the newer build", s.Format, storedFormat)
	}
	if err := json.Unmarshal(s.Report, &r); err != nil {
		return r, s, err
	}
	r.ID = s.id()
	return r, s, nil
}

// last returns the newest verdict in full, nil if there is none.
func (v *verdicts) last(ctx context.Context) (*compare.Report, error) {
	if err := v.read(ctx); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.latest, nil
}

// newest returns up to n verdicts, newest first.
func (v *verdicts) newest(ctx context.Context, n int) ([]Verdict, error) {
	if err := v.read(ctx); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	out := slices.Clone(v.list[max(0, len(v.list)-n):])
	slices.Reverse(out)
	return out, nil
}

// errFound ends a search through the log.
var errFound = errors.New("found")

// get returns the verdict of that id in full; nil if there is none.
func (v *verdicts) get(ctx context.Context, id string) (*compare.Report, error) {
	var found *compare.Report
	err := v.log.Records(ctx, verdictLog, 0, func(_ uint64, value []byte) error {
		r, _, err := decodeStored(value)
		if err != nil {
			return err
		}
		if r.ID == id {
			found = &r
			return errFound
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, fmt.Errorf("verdicts: %w", err)
	}
	return found, nil
}
