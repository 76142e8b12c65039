package duckdb

import (
	"fmt"
	"math"
	"math/big"
	"time"
	"unsafe"

	native "github.com/duckdb/duckdb-go-bindings"
)

// answer is a streamed answer: DuckDB computes a little ahead of what was read, never all of it.
type answer struct {
	result  native.Result
	columns []column
	chunk   native.DataChunk
	size    int // rows in chunk
	at      int // next row in chunk
}

// column reads the values of one column of the current chunk.
type column struct {
	name     string
	kind     native.Type
	data     unsafe.Pointer
	validity unsafe.Pointer // nil: every row is valid
}

// stream runs the bound statement.
func (s *statement) stream() (*answer, error) {
	var pending native.PendingResult
	if native.PendingPreparedStreaming(s.handle, &pending) == native.StateError {
		err := messageError(native.PendingError(pending))
		native.DestroyPending(&pending)
		return nil, err
	}
	defer native.DestroyPending(&pending)
	a := new(answer)
	if native.ExecutePending(pending, &a.result) == native.StateError {
		err := &nativeError{kind: native.ResultErrorType(&a.result), message: native.ResultError(&a.result)}
		native.DestroyResult(&a.result)
		return nil, err
	}
	for i := range native.ColumnCount(&a.result) {
		a.columns = append(a.columns, column{name: native.ColumnName(&a.result, i), kind: native.ColumnType(&a.result, i)})
	}
	return a, nil
}

func (a *answer) close() {
	native.DestroyDataChunk(&a.chunk)
	native.DestroyResult(&a.result)
}

// next returns the next row; nil after the last.
func (a *answer) next() ([]any, error) {
	for a.at == a.size {
		if err := a.fetch(); err != nil || a.size == 0 {
			return nil, err
		}
	}
	row := make([]any, len(a.columns))
	for i := range a.columns {
		v, err := a.columns[i].value(a.at)
		if err != nil {
			return nil, err
		}
		row[i] = v
	}
	a.at++
	return row, nil
}

// fetch loads the next chunk; size 0 means there is none.
func (a *answer) fetch() error {
	native.DestroyDataChunk(&a.chunk)
	a.at, a.size = 0, 0
	a.chunk = native.FetchChunk(a.result)
	if a.chunk.Ptr == nil {
		// The C interface says "no more" and "failed" the same way; only the message tells them apart. Without this a
		// statement that is stopped half-way would look like a short answer.
		if message := native.ResultError(&a.result); message != "" {
			return &nativeError{kind: native.ResultErrorType(&a.result), message: message}
		}
		return nil
	}
	a.size = int(native.DataChunkGetSize(a.chunk))
	for i := range a.columns {
		v := native.DataChunkGetVector(a.chunk, native.IdxT(i))
		a.columns[i].data = native.VectorGetData(v)
		a.columns[i].validity = native.VectorGetValidity(v)
	}
	return nil
}

// at reads element i of a vector of T.
func at[T any](data unsafe.Pointer, i int) T {
	return *(*T)(unsafe.Add(data, uintptr(i)*unsafe.Sizeof(*new(T))))
}

// str is duckdb_string_t: a length, then up to 12 bytes in place, or 4 bytes of prefix and a pointer.
type str struct {
	length uint32
	prefix [4]byte
	rest   [8]byte
}

const inlined = 12

// bytesAt returns the bytes of a string or blob, which live as long as the chunk.
func bytesAt(data unsafe.Pointer, i int) []byte {
	s := (*str)(unsafe.Add(data, uintptr(i)*unsafe.Sizeof(str{})))
	if s.length <= inlined {
		return unsafe.Slice(&s.prefix[0], s.length)
	}
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&s.rest)), s.length)
}

func (c *column) null(i int) bool {
	return c.validity != nil && at[uint64](c.validity, i/64)&(1<<(i%64)) == 0
}

// value returns row i in the form that warehouse.Rows promises.
func (c *column) value(i int) (any, error) {
	if c.null(i) {
		return nil, nil
	}
	switch c.kind {
	case native.TypeSQLNull:
		return nil, nil
	case native.TypeBoolean:
		return at[uint8](c.data, i) != 0, nil
	case native.TypeTinyInt:
		return int64(at[int8](c.data, i)), nil
	case native.TypeSmallInt:
		return int64(at[int16](c.data, i)), nil
	case native.TypeInteger:
		return int64(at[int32](c.data, i)), nil
	case native.TypeBigInt:
		return at[int64](c.data, i), nil
	case native.TypeUTinyInt:
		return uint64(at[uint8](c.data, i)), nil
	case native.TypeUSmallInt:
		return uint64(at[uint16](c.data, i)), nil
	case native.TypeUInteger:
		return uint64(at[uint32](c.data, i)), nil
	case native.TypeUBigInt:
		return at[uint64](c.data, i), nil
	case native.TypeHugeInt:
		return wide(big.NewInt(at[int64](c.data, 2*i+1)), at[uint64](c.data, 2*i)), nil
	case native.TypeUHugeInt:
		return wide(new(big.Int).SetUint64(at[uint64](c.data, 2*i+1)), at[uint64](c.data, 2*i)), nil
	case native.TypeFloat:
		return float64(at[float32](c.data, i)), nil
	case native.TypeDouble:
		return at[float64](c.data, i), nil
	case native.TypeVarchar, native.TypeBlob:
		b := bytesAt(c.data, i)
		if len(b) > maxValue {
			return nil, fmt.Errorf("column %q has a value of %d bytes, the most is %d", c.name, len(b), maxValue)
		}
		if c.kind == native.TypeVarchar {
			return string(b), nil
		}
		return append([]byte{}, b...), nil
	case native.TypeTimestamp, native.TypeTimestampTZ:
		return instant(at[int64](c.data, i), time.UnixMicro), nil
	case native.TypeTimestampMS:
		return instant(at[int64](c.data, i), time.UnixMilli), nil
	case native.TypeTimestampS:
		return instant(at[int64](c.data, i), func(s int64) time.Time { return time.Unix(s, 0) }), nil
	case native.TypeTimestampNS:
		return instant(at[int64](c.data, i), func(n int64) time.Time { return time.Unix(0, n) }), nil
	case native.TypeDate:
		days := at[int32](c.data, i)
		if days == math.MaxInt32 || days == -math.MaxInt32 {
			return infinite(days > 0), nil
		}
		return time.Unix(int64(days)*86400, 0).UTC(), nil
	}
	return nil, fmt.Errorf("column %q has a type this build cannot read: cast it to VARCHAR", c.name)
}

func wide(high *big.Int, low uint64) *big.Int {
	return high.Add(high.Lsh(high, 64), new(big.Int).SetUint64(low))
}

// instant turns a timestamp into a time; DuckDB's two infinite ones, which no time.Time can hold, into text.
func instant(n int64, of func(int64) time.Time) any {
	if n == math.MaxInt64 || n == -math.MaxInt64 {
		return infinite(n > 0)
	}
	return of(n).UTC()
}

func infinite(positive bool) string {
	if positive {
		return "infinity"
	}
	return "-infinity"
}

// readable reports whether value can read the type; the others are cast to text by the statement itself.
func readable(t native.Type) bool {
	switch t {
	case native.TypeSQLNull, native.TypeBoolean, native.TypeTinyInt, native.TypeSmallInt, native.TypeInteger, native.TypeBigInt,
		native.TypeUTinyInt, native.TypeUSmallInt, native.TypeUInteger, native.TypeUBigInt, native.TypeHugeInt, native.TypeUHugeInt,
		native.TypeFloat, native.TypeDouble, native.TypeVarchar, native.TypeBlob, native.TypeTimestamp, native.TypeTimestampTZ,
		native.TypeTimestampMS, native.TypeTimestampS, native.TypeTimestampNS, native.TypeDate:
		return true
	}
	return false
}
