package duckdb

import (
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

// newRawAppender prepares to append rows to raw.
func newRawAppender(c *conn, stack event.Stack) (*appender, error) {
	return newAppender(c, string(stack), "raw", rawWidth, colData, colDataBytes)
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
