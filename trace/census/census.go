// Package census counts, in the warehouse, the events that have no final outcome though they should.
//
// Invariant: it trusts nothing but rows and cursors. A stage's cursor says that everything below it is final, so what
// lies beyond is behind, and what lies below and has no row is lost; an event that has neither is never overlooked,
// whatever the process that should have sent it believes.
package census

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Querier is what is asked. A warehouse.Reader is one; the contract is there.
type Querier interface {
	Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error)
}

// Options say what to count. All but Examples are required.
type Options struct {
	Warehouse Querier
	Stack     event.Stack
	Build     string              // of the stack, as its outcomes carry it: an earlier one may have had other trackers
	Events    map[string][]string // by tracker: the allowlist's names of the events that it gets
	Before    time.Time           // events received before it should be final
	Since     time.Time           // and after it are looked at
	Examples  int                 // to name for each stage; 0: none
}

// Stage is what was found at one stage of a stack: trace, or a tracker.
type Stage struct {
	Stage  warehouse.Stage `json:"stage"`
	Cursor event.Cursor    `json:"cursor"` // in the warehouse; zero: it has no row of cursors

	Behind   uint64 `json:"behind"`             // events that are not final yet: beyond the cursor
	OldestAt int64  `json:"oldestAt,omitempty"` // when the oldest of them was received, microseconds since the epoch
	Lost     uint64 `json:"lost"`               // events below the cursor without an outcome: there is a bug
	Examples []Case `json:"examples,omitempty"` // of lost ones

	Outcomes []Outcome `json:"outcomes"` // how many had which, most frequent first
}

// Case is one event.
type Case struct {
	event.Position
	EventID string `json:"eventId"`
	Event   string `json:"event"`
}

// Outcome counts the final outcomes of one kind.
type Outcome struct {
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	Events  uint64 `json:"events"`
}

// Take counts. Its stages are trace and then the trackers by name. Errors are the warehouse's.
func Take(ctx context.Context, o Options) ([]Stage, error) {
	c := &counter{o: o}
	stages, err := c.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("census of %s: %w", o.Stack, err)
	}
	return stages, nil
}

type counter struct {
	o       Options
	words   words
	first   int64 // frame from which on to look
	cursors map[warehouse.Stage]event.Cursor
}

// words are what engines say differently.
type words struct {
	dataset string // of the stack
	instant string // a timestamp of the parameter, which is microseconds
	micros  string // the other way, of %s
}

// speak finds out in which words the engine is asked.
func (c *counter) speak(ctx context.Context) error {
	d, err := warehouse.DialectOf(ctx, c.o.Warehouse)
	if err != nil {
		return err
	}
	c.words = words{dataset: d.Dataset(string(c.o.Stack)), instant: "make_timestamp(?)", micros: "epoch_us(%s)"}
	if d.Google {
		c.words.instant, c.words.micros = "TIMESTAMP_MICROS(?)", "UNIX_MICROS(%s)"
	}
	return nil
}

func (c *counter) take(ctx context.Context) ([]Stage, error) {
	if err := c.speak(ctx); err != nil {
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	var stages []Stage
	for _, name := range append([]warehouse.Stage{warehouse.Trace}, trackers(c.o.Events)...) {
		s := Stage{Stage: name, Cursor: c.cursors[name]}
		for _, count := range []func(context.Context, *Stage) error{c.behind, c.lost, c.outcomes} {
			if err := count(ctx, &s); err != nil {
				return nil, fmt.Errorf("stage %s: %w", name, err)
			}
		}
		stages = append(stages, s)
	}
	return stages, nil
}

func trackers(events map[string][]string) []warehouse.Stage {
	var all []warehouse.Stage
	for _, name := range slices.Sorted(maps.Keys(events)) {
		all = append(all, warehouse.Stage(name))
	}
	return all
}

// begin reads where the stages stand, and where to begin. The cursors are read first: what is stored afterwards lies
// above them, so it can be called behind but never lost.
func (c *counter) begin(ctx context.Context) error {
	c.cursors = map[warehouse.Stage]event.Cursor{}
	err := c.each(ctx, `SELECT stage, frame, request FROM cursors WHERE stack = ? AND run = 0`, []any{string(c.o.Stack)}, func(row []any) error {
		stage, ok := row[0].(string)
		if !ok {
			return fmt.Errorf("stage is a %T", row[0])
		}
		c.cursors[warehouse.Stage(stage)] = event.Cursor{Frame: uint64(number(row[1])), Request: uint32(number(row[2]))}
		return nil
	})
	if err != nil {
		return err
	}
	return c.each(ctx, fmt.Sprintf(`SELECT min(r.frame) FROM %s.raw r WHERE r.run = 0 AND r.timestamp >= %s`, c.words.dataset, c.words.instant), []any{c.o.Since.UnixMicro()}, func(row []any) error {
		c.first = number(row[0])
		return nil
	})
}

// belongs is the condition that the trace's outcome t of an event makes it one of the stage's.
func (c *counter) belongs(s *Stage, args []any) (string, []any) {
	names := c.o.Events[string(s.Stage)]
	if len(names) == 0 {
		return "false", args
	}
	for _, name := range names {
		args = append(args, name)
	}
	return "t.outcome = 'accepted' AND t.event IN (?" + strings.Repeat(", ?", len(names)-1) + ")", args
}

// behind counts events beyond the cursor.
func (c *counter) behind(ctx context.Context, s *Stage) error {
	at := []any{c.first, c.o.Before.UnixMicro(), int64(s.Cursor.Frame), int64(s.Cursor.Frame), int64(s.Cursor.Request)}
	sql := fmt.Sprintf(`SELECT count(*), coalesce(`+c.words.micros+`, 0) FROM %s.raw r`, "min(r.timestamp)", c.words.dataset)
	where := ` WHERE r.run = 0 AND r.frame >= ? AND r.timestamp < ` + c.words.instant + ` AND (r.frame > ? OR r.frame = ? AND r.request >= ?)`
	if s.Stage != warehouse.Trace {
		// What trace has not decided may belong to the tracker.
		sql += fmt.Sprintf(` LEFT JOIN %s.outcomes t ON t.run = 0 AND t.stage = 'trace' AND t.frame = r.frame AND t.request = r.request AND t.item = r.item`, c.words.dataset)
		var mine string
		mine, at = c.belongs(s, at)
		where += " AND (t.outcome IS NULL OR " + mine + ")"
	}
	return c.each(ctx, sql+where, at, func(row []any) error {
		s.Behind, s.OldestAt = uint64(number(row[0])), number(row[1])
		return nil
	})
}

// lost counts events below the cursor that have no outcome.
func (c *counter) lost(ctx context.Context, s *Stage) error {
	below := ` r.run = 0 AND r.frame >= ? AND (r.frame < ? OR r.frame = ? AND r.request < ?)`
	at := []any{c.first, int64(s.Cursor.Frame), int64(s.Cursor.Frame), int64(s.Cursor.Request)}
	none := ` AND o.frame IS NULL`
	from := fmt.Sprintf(` FROM %[1]s.raw r
		LEFT JOIN %[1]s.outcomes o ON o.run = 0 AND o.stage = 'trace' AND o.frame = r.frame AND o.request = r.request AND o.item = r.item
		WHERE`, c.words.dataset) + below + none
	if s.Stage != warehouse.Trace {
		from = fmt.Sprintf(` FROM %[1]s.raw r
			JOIN %[1]s.outcomes t ON t.run = 0 AND t.stage = 'trace' AND t.frame = r.frame AND t.request = r.request AND t.item = r.item
			LEFT JOIN %[1]s.outcomes o ON o.run = 0 AND o.stage = ? AND o.frame = r.frame AND o.request = r.request AND o.item = r.item
			WHERE t.build = ? AND`, c.words.dataset) + below + none
		at = append([]any{string(s.Stage), c.o.Build}, at...)
		var mine string
		mine, at = c.belongs(s, at)
		from += " AND " + mine
	}
	err := c.each(ctx, `SELECT count(*)`+from, at, func(row []any) error {
		s.Lost = uint64(number(row[0]))
		return nil
	})
	if err != nil || s.Lost == 0 || c.o.Examples == 0 {
		return err
	}
	return c.each(ctx, `SELECT r.frame, r.request, r.item, r.eventId, r.event`+from+fmt.Sprintf(` ORDER BY 1, 2, 3 LIMIT %d`, c.o.Examples), at, func(row []any) error {
		x := Case{Position: event.Position{Frame: uint64(number(row[0])), Request: uint32(number(row[1])), Item: uint32(number(row[2]))}}
		x.EventID, _ = row[3].(string)
		x.Event, _ = row[4].(string)
		s.Examples = append(s.Examples, x)
		return nil
	})
}

// outcomes counts what became of those that are final.
func (c *counter) outcomes(ctx context.Context, s *Stage) error {
	s.Outcomes = []Outcome{}
	sql := fmt.Sprintf(`SELECT outcome, coalesce(reason, ''), count(*) AS n FROM %s.outcomes WHERE run = 0 AND stage = ? AND frame >= ? GROUP BY 1, 2 ORDER BY n DESC, 1, 2 LIMIT 100`, c.words.dataset)
	return c.each(ctx, sql, []any{string(s.Stage), c.first}, func(row []any) error {
		o := Outcome{Events: uint64(number(row[2]))}
		o.Outcome, _ = row[0].(string)
		o.Reason, _ = row[1].(string)
		s.Outcomes = append(s.Outcomes, o)
		return nil
	})
}

// each calls fn with every row.
func (c *counter) each(ctx context.Context, sql string, args []any, fn func([]any) error) error {
	rows, err := c.o.Warehouse.Query(ctx, warehouse.Query{SQL: sql, Args: args, Limit: 100_000})
	if err != nil {
		return err
	}
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return rows.Close()
		}
		if err == nil {
			err = fn(row)
		}
		if err != nil {
			return errors.Join(err, rows.Close())
		}
	}
}

// number reads an integer of whatever width; NULL is 0.
func number(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case uint64:
		return int64(v)
	case *big.Int:
		return v.Int64()
	}
	return 0
}
