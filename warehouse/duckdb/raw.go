package duckdb

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// rawColumns is the raw table of a stack, in the order in which appender.put fills it. The constraints cost little and
// make an error of what DuckDB's appender would do silently: store NULL for a text that it finds not to be UTF-8.
const rawColumns = `"eventId" VARCHAR NOT NULL, "timestamp" TIMESTAMP NOT NULL, event VARCHAR NOT NULL, data VARCHAR, "dataBytes" BLOB, ` +
	`frame BIGINT NOT NULL, request INTEGER NOT NULL, item INTEGER NOT NULL, "itemsInRequest" INTEGER NOT NULL, ` +
	`run BIGINT NOT NULL, build VARCHAR NOT NULL, context VARCHAR NOT NULL, CHECK ((data IS NULL) <> ("dataBytes" IS NULL))`

// The columns of raw.
const (
	colEventID = iota
	colTimestamp
	colEvent
	colData
	colDataBytes
	colFrame
	colRequest
	colItem
	colItemsInRequest
	colRun
	colBuild
	colContext
	rawWidth
)

// checkRow refuses what raw cannot hold exactly. DuckDB would not: its appender stores NULL for a string that is not
// UTF-8, and a number that does not fit its column would be cut.
func checkRow(r *warehouse.Row) error {
	switch {
	case r.Frame > math.MaxInt64:
		return fmt.Errorf("row %v: frame %d is beyond %d", r.Position, r.Frame, int64(math.MaxInt64))
	case r.Request > math.MaxInt32:
		return fmt.Errorf("row %v: request %d is beyond %d", r.Position, r.Request, math.MaxInt32)
	case r.Item > math.MaxInt32:
		return fmt.Errorf("row %v: item %d is beyond %d", r.Position, r.Item, math.MaxInt32)
	case r.ItemsInRequest > math.MaxInt32:
		return fmt.Errorf("row %v: %d items in the request are beyond %d", r.Position, r.ItemsInRequest, math.MaxInt32)
	case r.Timestamp == math.MaxInt64 || r.Timestamp <= -math.MaxInt64:
		return fmt.Errorf("row %v: timestamp %d is none", r.Position, r.Timestamp)
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

// newRawAppender prepares to append rows to raw.
func newRawAppender(c *conn, stack event.Stack) (*appender, error) {
	return newAppender(c, stack, "raw", rawWidth, colData, colDataBytes)
}

// put adds a row that checkRow let through.
func (a *appender) put(run uint64, r *warehouse.Row) error {
	if err := a.next(); err != nil {
		return err
	}
	a.text(colEventID, r.EventID)
	set(a, colTimestamp, r.Timestamp)
	a.text(colEvent, r.Event)
	if utf8.Valid(r.Data) {
		a.bytes(colData, r.Data)
		a.null(colDataBytes)
	} else {
		a.null(colData)
		a.bytes(colDataBytes, r.Data)
	}
	set(a, colFrame, int64(r.Frame))
	set(a, colRequest, int32(r.Request))
	set(a, colItem, int32(r.Item))
	set(a, colItemsInRequest, int32(r.ItemsInRequest))
	set(a, colRun, int64(run))
	a.text(colBuild, r.Build)
	if len(r.Context) > 0 {
		a.bytes(colContext, r.Context)
	} else {
		a.text(colContext, "{}")
	}
	a.size++
	return nil
}
