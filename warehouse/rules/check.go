package rules

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Check refuses a batch that no state of any engine could take.
func Check(b *warehouse.Batch) error {
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
	case !utf8.ValidString(b.Journal):
		return fmt.Errorf("batch [%v, %v) of %s names a journal that is not UTF-8", b.From, b.To, b.Stack)
	case b.Run > math.MaxInt64 || b.From.Frame > math.MaxInt64 || b.To.Frame > math.MaxInt64 || b.To.Request > math.MaxInt32:
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

// checkPlace refuses a position that no table can hold.
func checkPlace(what string, p event.Position) error {
	if p.Frame > math.MaxInt64 || p.Request > math.MaxInt32 || p.Item > math.MaxInt32 {
		return fmt.Errorf("%s %v is beyond what the warehouse can count", what, p)
	}
	return nil
}

// checkTime refuses the instants by which infinity is written.
func checkTime(what string, p event.Position, at int64) error {
	if at == math.MaxInt64 || at <= -math.MaxInt64 {
		return fmt.Errorf("%s %v: timestamp %d is none", what, p, at)
	}
	return nil
}

// checkRow refuses what raw cannot hold exactly. An engine would not always: DuckDB's appender stores NULL for a string
// that is not UTF-8.
func checkRow(r *warehouse.Row) error {
	if err := checkPlace("row", r.Position); err != nil {
		return err
	}
	if err := checkTime("row", r.Position, r.Timestamp); err != nil {
		return err
	}
	switch {
	case r.ItemsInRequest > math.MaxInt32:
		return fmt.Errorf("row %v: %d items in the request are beyond %d", r.Position, r.ItemsInRequest, math.MaxInt32)
	case !utf8.ValidString(r.EventID):
		return fmt.Errorf("row %v: eventId is not UTF-8", r.Position)
	case !utf8.ValidString(r.Event):
		return fmt.Errorf("row %v: the event's name is not UTF-8", r.Position)
	case !utf8.ValidString(r.Build):
		return fmt.Errorf("row %v: build is not UTF-8", r.Position)
	case !utf8.Valid(r.Context):
		return fmt.Errorf("row %v: context is not UTF-8", r.Position)
	case len(r.Data) > math.MaxUint32:
		return fmt.Errorf("row %v: %d bytes of data are beyond %d", r.Position, len(r.Data), uint32(math.MaxUint32))
	}
	return nil
}

// checkOutcome refuses what outcomes cannot hold exactly.
func checkOutcome(o *warehouse.Outcome) error {
	if err := checkPlace("outcome", o.Position); err != nil {
		return err
	}
	if err := checkTime("outcome", o.Position, o.Timestamp); err != nil {
		return err
	}
	switch {
	case o.Attempts > math.MaxInt32 || o.Revision > math.MaxInt32:
		return fmt.Errorf("outcome %v: %d attempts or revision %d are beyond %d", o.Position, o.Attempts, o.Revision, math.MaxInt32)
	case o.Outcome == "":
		return fmt.Errorf("outcome %v: says nothing", o.Position)
	case !utf8.ValidString(o.Build) || !utf8.ValidString(o.Event) || !utf8.ValidString(o.Sink) || !utf8.ValidString(o.Outcome) || !utf8.ValidString(o.Reason):
		return fmt.Errorf("outcome %v: build, event, sink, outcome or reason is not UTF-8", o.Position)
	}
	return nil
}

// checkOutcomes refuses outcomes that do not fit their batch.
func checkOutcomes(b *warehouse.Batch) error {
	late := IsLate(b.Stage)
	if late && (b.From.Request != 0 || b.To.Request != 0 || b.To.Frame-b.From.Frame != uint64(len(b.Outcomes))) {
		return fmt.Errorf("batch [%v, %v) of stage %s has %d corrections: want one for each number", b.From, b.To, b.Stage, len(b.Outcomes))
	}
	for i := range b.Outcomes {
		o := &b.Outcomes[i]
		if err := checkOutcome(o); err != nil {
			return err
		}
		if late != (o.Revision > 0) {
			return fmt.Errorf("outcome %v of stage %s has revision %d: corrections have one above 0, and only they", o.Position, b.Stage, o.Revision)
		}
		if late {
			continue
		}
		at := event.Cursor{Frame: o.Frame, Request: o.Position.Request}
		if at.Compare(b.From) < 0 || at.Compare(b.To) >= 0 {
			return fmt.Errorf("outcome %v lies outside its batch [%v, %v)", o.Position, b.From, b.To)
		}
		// An outcome given twice is stored twice, as a row of raw is: compare says what is wrong with it.
		if i > 0 && b.Outcomes[i-1].Position.Compare(o.Position) > 0 {
			return fmt.Errorf("outcome %v comes after outcome %v: outcomes must be in order", o.Position, b.Outcomes[i-1].Position)
		}
	}
	return nil
}
