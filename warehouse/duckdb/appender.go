package duckdb

import (
	"fmt"
	"math"
	"unicode/utf8"
	"unsafe"

	native "github.com/duckdb/duckdb-go-bindings"

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

// appender writes rows into the raw table of one stack, in the open transaction of its connection (tried: what it
// flushed is gone after ROLLBACK). It keeps nothing of a row after put returns.
type appender struct {
	handle native.Appender
	chunk  native.DataChunk
	types  []native.LogicalType
	size   int // rows in chunk
	full   int // rows a chunk can take

	vectors  [rawWidth]native.Vector
	data     [rawWidth]unsafe.Pointer
	validity [rawWidth]unsafe.Pointer // of the columns that may be NULL
}

func newAppender(c *conn, stack event.Stack) (*appender, error) {
	a := &appender{full: int(native.VectorSize())}
	if native.AppenderCreateExt(c.handle, "", string(stack), "raw", &a.handle) == native.StateError {
		err := a.failure()
		native.AppenderDestroy(&a.handle)
		return nil, fmt.Errorf("appender for %s.raw: %w", stack, err)
	}
	if n := native.AppenderColumnCount(a.handle); n != rawWidth {
		native.AppenderDestroy(&a.handle)
		return nil, fmt.Errorf("%s.raw has %d columns, want %d", stack, n, rawWidth)
	}
	for i := range rawWidth {
		a.types = append(a.types, native.AppenderColumnType(a.handle, native.IdxT(i)))
	}
	a.chunk = native.CreateDataChunk(a.types)
	a.reset()
	return a, nil
}

// close gives up what is not flushed.
func (a *appender) close() {
	native.AppenderClear(a.handle)
	native.AppenderDestroy(&a.handle)
	native.DestroyDataChunk(&a.chunk)
	for i := range a.types {
		native.DestroyLogicalType(&a.types[i])
	}
}

func (a *appender) failure() error {
	d := native.AppenderErrorData(a.handle)
	defer native.DestroyErrorData(&d)
	return &nativeError{kind: native.ErrorDataErrorType(d), message: native.ErrorDataMessage(d)}
}

// reset empties the chunk.
func (a *appender) reset() {
	native.DataChunkReset(a.chunk)
	a.size = 0
	for i := range a.vectors {
		a.vectors[i] = native.DataChunkGetVector(a.chunk, native.IdxT(i))
		a.data[i] = native.VectorGetData(a.vectors[i])
	}
	for _, i := range []int{colData, colDataBytes} {
		native.VectorEnsureValidityWritable(a.vectors[i])
		a.validity[i] = native.VectorGetValidity(a.vectors[i])
	}
}

// set writes a number.
func set[T int32 | int64](a *appender, column int, v T) {
	*(*T)(unsafe.Add(a.data[column], uintptr(a.size)*unsafe.Sizeof(v))) = v
}

func (a *appender) text(column int, s string) {
	native.VectorAssignStringElement(a.vectors[column], native.IdxT(a.size), s)
}

func (a *appender) bytes(column int, b []byte) {
	native.VectorAssignStringElementLen(a.vectors[column], native.IdxT(a.size), b)
}

func (a *appender) null(column int) {
	native.ValiditySetRowInvalid(a.validity[column], native.IdxT(a.size))
}

// put adds a row that checkRow let through.
func (a *appender) put(run uint64, r *warehouse.Row) error {
	if a.size == a.full {
		if err := a.push(); err != nil {
			return err
		}
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

// push hands the chunk over.
func (a *appender) push() error {
	if a.size == 0 {
		return nil
	}
	native.DataChunkSetSize(a.chunk, native.IdxT(a.size))
	if native.AppendDataChunk(a.handle, a.chunk) == native.StateError {
		return a.failure()
	}
	a.reset()
	return nil
}

// flush writes everything put so far into the transaction.
func (a *appender) flush() error {
	if err := a.push(); err != nil {
		return err
	}
	if native.AppenderFlush(a.handle) == native.StateError {
		return a.failure()
	}
	return nil
}
