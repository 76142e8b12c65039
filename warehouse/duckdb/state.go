package duckdb

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// key names a cursor.
type key struct {
	stack event.Stack
	run   uint64
	stage warehouse.Stage
}

// line is what a cursor's line in cursors_log says beside the cursor.
type line struct{ step, rows int64 }

func keyOf(b *warehouse.Batch) key { return key{b.Stack, b.Run, b.Stage} }

// state is what the file says about itself, kept in memory since this process is the only writer. It changes only after
// a commit succeeded; after one that failed it is read again.
type state struct {
	mu       sync.Mutex
	cursors  map[key]event.Cursor
	lines    map[key]line        // the latest in cursors_log
	journals []warehouse.Journal // by first appearance; the last one is the one written now
	timeline event.Timeline

	normalized map[event.Stack][]warehouse.Property
	width      uint64         // frames in a bucket of digests
	closed     map[key]uint64 // first bucket that has no digest yet
}

func (s *state) cursor(k key) event.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[k]
}

// line returns the latest line of a cursor. Only the stack's own writer changes it.
func (s *state) line(k key) line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[k]
}

// next is the line after l, for a move.
func (l line) next(m move) line { return line{step: l.step + 1, rows: l.rows + int64(m.rows)} }

func (s *state) list() []warehouse.Journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.journals)
}

// live returns the stack that is live now; empty before the first control record.
func (s *state) live() event.Stack {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timeline.Live()
}

// snapshot returns a copy to plan with.
func (s *state) snapshot() *plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &plan{cursors: maps.Clone(s.cursors), journals: slices.Clone(s.journals), timeline: s.timeline}
}

// load reads what the file says.
func (s *state) load(c *conn) error {
	cursors, lines := map[key]event.Cursor{}, map[key]line{}
	err := c.rows(`SELECT stack, run, stage, max_by(frame, step), max_by(request, step), max(step), max_by("rows", step), count(*) <> count(DISTINCT step) FROM cursors_log GROUP BY ALL`, nil, func(r []any) error {
		k := key{event.Stack(r[0].(string)), uint64(r[1].(int64)), warehouse.Stage(r[2].(string))}
		if r[7].(bool) {
			return fmt.Errorf("two cursors for stack %s, run %d, stage %s: the file is damaged", k.stack, k.run, k.stage)
		}
		cursors[k] = event.Cursor{Frame: uint64(r[3].(int64)), Request: uint32(r[4].(int64))}
		lines[k] = line{step: r[5].(int64), rows: r[6].(int64)}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cursors: %w", err)
	}
	var journals []warehouse.Journal
	err = c.rows("SELECT id, first, highest FROM journals ORDER BY first", nil, func(r []any) error {
		journals = append(journals, warehouse.Journal{ID: r[0].(string), First: uint64(r[1].(int64)), Highest: uint64(r[2].(int64))})
		return nil
	})
	if err != nil {
		return fmt.Errorf("journals: %w", err)
	}
	timeline, err := loadTimeline(c)
	if err != nil {
		return err
	}
	normalized, err := loadNormalized(c)
	if err != nil {
		return err
	}
	width, err := loadDigestFrames(c)
	if err != nil {
		return err
	}
	closed, err := loadDigested(c, cursors, width)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursors, s.lines, s.journals, s.timeline, s.normalized, s.width, s.closed = cursors, lines, journals, timeline, normalized, width, closed
	return nil
}

func loadTimeline(c *conn) (timeline event.Timeline, err error) {
	err = c.rows("SELECT sequence, record FROM timeline ORDER BY sequence", nil, func(r []any) error {
		record, err := event.DecodeRecord(uint64(r[0].(int64)), []byte(r[1].(string)))
		if err != nil {
			return err
		}
		timeline, err = timeline.Append(record)
		return err
	})
	if err != nil {
		err = fmt.Errorf("timeline: %w", err)
	}
	return timeline, err
}

// columns returns the properties that each stack's raw_normalized has columns for. Nobody changes the map.
func (s *state) columns() map[event.Stack][]warehouse.Property {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.normalized
}

// digestFrames is how many frames share a digest in this file.
func (s *state) digestFrames() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.width
}

// digested is the first bucket of a stage that has no digest yet.
func (s *state) digested(k key) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed[k]
}

func loadDigestFrames(c *conn) (n uint64, err error) {
	v, err := c.value("SELECT value FROM meta WHERE name = ?", digestFramesKey)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(v.(string), &n); err != nil || n == 0 {
		return 0, fmt.Errorf("its digests cover %q frames each: the file is damaged", v)
	}
	return n, nil
}

// now returns the timeline.
func (s *state) now() event.Timeline {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timeline
}

// normalise takes over what a committed transaction did to the columns.
func (s *state) normalise(all map[event.Stack][]warehouse.Property) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.normalized = all
}

// commit takes over what a committed transaction did.
func (s *state) commit(t *transaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journals = append(s.journals, t.opens...)
	if len(t.records) > 0 {
		s.timeline = t.timeline // nobody else changed it meanwhile: a transaction with control records runs alone
	}
	for k, end := range t.closed {
		s.closed[k] = end
	}
	for _, m := range t.moves {
		s.cursors[m.key] = m.to
		s.lines[m.key] = s.lines[m.key].next(m)
		if m.run == 0 && !rules.IsLate(m.stage) {
			last := &s.journals[len(s.journals)-1]
			last.Highest = max(last.Highest, rules.Highest(m.to))
		}
	}
}
