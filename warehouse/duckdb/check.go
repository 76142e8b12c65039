package duckdb

import (
	"fmt"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// check refuses a batch that no state of the warehouse could take.
func check(b *warehouse.Batch) error {
	if _, err := event.ParseStack(string(b.Stack)); err != nil {
		return err
	}
	switch {
	case b.Stage == "":
		return fmt.Errorf("batch [%v, %v) of %s names no stage", b.From, b.To, b.Stack)
	case b.Stage != warehouse.Raw && len(b.Rows) > 0:
		return fmt.Errorf("batch [%v, %v) of %s has %d rows of raw for stage %s", b.From, b.To, b.Stack, len(b.Rows), b.Stage)
	case b.Stage == warehouse.Raw && len(b.Outcomes) > 0:
		return fmt.Errorf("batch [%v, %v) of %s has %d outcomes for stage %s", b.From, b.To, b.Stack, len(b.Outcomes), b.Stage)
	case len(b.Stage) > 256 || !utf8.ValidString(string(b.Stage)) || b.Stage.Base() == "" || b.Stage.Base() != b.Stage.Base().Base() || b.Stage == warehouse.Raw.Late():
		return fmt.Errorf("batch [%v, %v) of %s is for stage %.300q: there can be none", b.From, b.To, b.Stack, b.Stage)
	case b.Run == 0 && b.Journal == "":
		return fmt.Errorf("batch [%v, %v) of %s names no journal", b.From, b.To, b.Stack)
	case b.Run > maxInt || b.From.Frame > maxInt || b.To.Frame > maxInt || b.To.Request > maxInt32:
		return fmt.Errorf("batch [%v, %v) of %s, run %d, is beyond what the warehouse can count", b.From, b.To, b.Stack, b.Run)
	case b.From.Compare(b.To) > 0:
		return fmt.Errorf("batch [%v, %v) of %s ends before it begins", b.From, b.To, b.Stack)
	}
	if err := checkOutcomes(b); err != nil {
		return err
	}
	for i := range b.Rows {
		r := &b.Rows[i]
		if err := checkRow(r); err != nil {
			return err
		}
		at := event.Cursor{Frame: r.Frame, Request: r.Request}
		if at.Compare(b.From) < 0 || at.Compare(b.To) >= 0 {
			return fmt.Errorf("row %v lies outside its batch [%v, %v)", r.Position, b.From, b.To)
		}
		// A row given twice is stored twice: the warehouse keeps what a stack wrote, and compare is who says it is wrong.
		if i > 0 && b.Rows[i-1].Position.Compare(r.Position) > 0 {
			return fmt.Errorf("row %v comes after row %v: rows must be in order", r.Position, b.Rows[i-1].Position)
		}
	}
	return nil
}
