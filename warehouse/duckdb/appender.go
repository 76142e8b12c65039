package duckdb

import (
	"fmt"
	"unsafe"

	native "github.com/duckdb/duckdb-go-bindings"
)

// appender writes rows into one table, in the open transaction of its connection (tried: what it flushed is gone after
// ROLLBACK). It keeps nothing of a row after it was put.
type appender struct {
	handle native.Appender
	chunk  native.DataChunk
	types  []native.LogicalType
	size   int // rows in chunk
	full   int // rows a chunk can take

	nullable []int // columns that may be NULL
	vectors  []native.Vector
	data     []unsafe.Pointer
	validity []unsafe.Pointer // of the columns that may be NULL
	last     []string         // what word wrote last into the column in this chunk
}

// newAppender prepares for a table of the given number of columns.
func newAppender(c *conn, schema, table string, width int, nullable ...int) (*appender, error) {
	a := &appender{
		full: int(native.VectorSize()), nullable: nullable,
		vectors: make([]native.Vector, width), data: make([]unsafe.Pointer, width), validity: make([]unsafe.Pointer, width), last: make([]string, width),
	}
	if native.AppenderCreateExt(c.handle, "", schema, table, &a.handle) == native.StateError {
		err := a.failure()
		native.AppenderDestroy(&a.handle)
		return nil, fmt.Errorf("appender for %s.%s: %w", schema, table, err)
	}
	if n := int(native.AppenderColumnCount(a.handle)); n != width {
		native.AppenderDestroy(&a.handle)
		return nil, fmt.Errorf("%s.%s has %d columns, want %d", schema, table, n, width)
	}
	for i := range width {
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
	clear(a.last)
	for _, i := range a.nullable {
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

// word writes a text that is likely the one of the row before. The vector's entry is then written again as it is: it
// holds the text itself, or points to what the chunk keeps of it until it is reset.
func (a *appender) word(column int, s string) {
	const entry = 16 // bytes of a duckdb_string_t
	if a.size > 0 && a.last[column] == s {
		at := unsafe.Add(a.data[column], a.size*entry)
		*(*[entry]byte)(at) = *(*[entry]byte)(unsafe.Add(at, -entry))
		return
	}
	a.text(column, s)
	a.last[column] = s
}

func (a *appender) bytes(column int, b []byte) {
	native.VectorAssignStringElementLen(a.vectors[column], native.IdxT(a.size), b)
}

func (a *appender) null(column int) {
	native.ValiditySetRowInvalid(a.validity[column], native.IdxT(a.size))
}

// next makes room for a row.
func (a *appender) next() error {
	if a.size == a.full {
		return a.push()
	}
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
