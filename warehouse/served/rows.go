package served

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"time"

	"github.com/sparrowhq/sparrow/warehouse"
)

// An answer on the wire is a sequence of blocks, each a letter, a length (uvarint) and that many bytes:
//
//	C  columns: JSON, once, first
//	R  rows: values one after another, row by row
//	E  end: JSON; without it the answer was cut off
//
// A value is a letter and its bytes, see appendValue.
const (
	blockColumns = 'C'
	blockRows    = 'R'
	blockEnd     = 'E'

	blockBytes    = 64 << 10  // rows are sent when a block is this long
	maxBlockBytes = 256 << 20 // no row may be longer
)

// end is the last block.
type end struct {
	Rows      uint64   `json:"rows"`
	Truncated bool     `json:"truncated,omitempty"`
	Problem   *problem `json:"problem,omitempty"` // why there are no more rows
}

// rowsWriter sends blocks.
type rowsWriter struct {
	w     io.Writer
	flush func() error
	block []byte
	rows  uint64
}

func (w *rowsWriter) send(kind byte, body []byte) error {
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = kind
	n := 1 + binary.PutUvarint(head[1:], uint64(len(body)))
	if _, err := w.w.Write(head[:n]); err != nil {
		return err
	}
	if _, err := w.w.Write(body); err != nil {
		return err
	}
	return w.flush()
}

func (w *rowsWriter) sendJSON(kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.send(kind, body)
}

// row adds a row, sending the block if it is long enough.
func (w *rowsWriter) row(values []any) error {
	var err error
	for _, v := range values {
		if w.block, err = appendValue(w.block, v); err != nil {
			return err
		}
	}
	if len(w.block) > maxBlockBytes {
		return fmt.Errorf("a row takes %d bytes, the most is %d: select fewer or shorter columns", len(w.block), maxBlockBytes)
	}
	w.rows++
	if len(w.block) < blockBytes {
		return nil
	}
	return w.sendRows()
}

func (w *rowsWriter) sendRows() error {
	if len(w.block) == 0 {
		return nil
	}
	err := w.send(blockRows, w.block)
	w.block = w.block[:0]
	if cap(w.block) > 16*blockBytes {
		w.block = nil
	}
	return err
}

// appendValue appends a value's letter and bytes.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, 'n'), nil
	case bool:
		if v {
			return append(b, 't'), nil
		}
		return append(b, 'f'), nil
	case int64:
		return binary.AppendVarint(append(b, 'i'), v), nil
	case uint64:
		return binary.AppendUvarint(append(b, 'u'), v), nil
	case float64:
		return binary.LittleEndian.AppendUint64(append(b, 'd'), math.Float64bits(v)), nil
	case string:
		return append(binary.AppendUvarint(append(b, 's'), uint64(len(v))), v...), nil
	case []byte:
		return append(binary.AppendUvarint(append(b, 'b'), uint64(len(v))), v...), nil
	case time.Time:
		b = binary.AppendVarint(append(b, 'T'), v.Unix())
		return binary.AppendUvarint(b, uint64(v.Nanosecond())), nil
	case *big.Int:
		text := v.Append(nil, 62)
		return append(binary.AppendUvarint(append(b, 'z'), uint64(len(text))), text...), nil
	}
	return nil, fmt.Errorf("a value of type %T cannot be sent", v)
}

// rowsReader reads blocks.
type rowsReader struct {
	r       *bufio.Reader
	columns []warehouse.Column
	buffer  []byte // the current block
	block   []byte // what is left of it
	rows    uint64
	end     *end
	err     error // what next returns from now on
}

// readBlock returns the next block; its body is valid until the next call.
func (r *rowsReader) readBlock() (kind byte, body []byte, err error) {
	kind, err = r.r.ReadByte()
	if err != nil {
		return 0, nil, cutOff(err)
	}
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return 0, nil, cutOff(err)
	}
	// A row more than the writer's bound may lie in a block that was nearly full.
	if n > maxBlockBytes+blockBytes {
		return 0, nil, fmt.Errorf("the answer has a block of %d bytes, the most is %d", n, maxBlockBytes+blockBytes)
	}
	// Grow as bytes arrive, not as the length claims.
	r.buffer = r.buffer[:0]
	for uint64(len(r.buffer)) < n {
		step := min(n-uint64(len(r.buffer)), 1<<20)
		at := len(r.buffer)
		r.buffer = append(r.buffer, make([]byte, step)...)
		if _, err := io.ReadFull(r.r, r.buffer[at:]); err != nil {
			return 0, nil, cutOff(err)
		}
	}
	return kind, r.buffer, nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", errTruncated, err)
}

// open reads the columns.
func (r *rowsReader) open() error {
	kind, body, err := r.readBlock()
	if err != nil {
		return err
	}
	if kind != blockColumns {
		return fmt.Errorf("the answer begins with block %q: the warehouse process is of another build", kind)
	}
	if err := json.Unmarshal(body, &r.columns); err != nil {
		return fmt.Errorf("columns of the answer: %w", err)
	}
	return nil
}

// next is warehouse.Rows.Next.
func (r *rowsReader) next() ([]any, error) {
	for r.err == nil && len(r.block) == 0 {
		r.advance()
	}
	if r.err != nil {
		return nil, r.err
	}
	row := make([]any, len(r.columns))
	for i := range row {
		if row[i], r.block, r.err = readValue(r.block); r.err != nil {
			return nil, r.err
		}
	}
	r.rows++
	return row, nil
}

func (r *rowsReader) advance() {
	kind, body, err := r.readBlock()
	switch {
	case err != nil:
		r.err = err
	case kind == blockRows && len(r.columns) > 0:
		r.block = body
	case kind == blockEnd:
		e := new(end)
		switch err := json.Unmarshal(body, e); {
		case err != nil:
			r.err = fmt.Errorf("end of the answer: %w", err)
		case e.Problem != nil:
			r.err = e.Problem.error()
		case e.Rows != r.rows:
			r.err = fmt.Errorf("%w: %d of %d rows came", errTruncated, r.rows, e.Rows)
		default:
			r.end, r.err = e, io.EOF
		}
	default:
		r.err = fmt.Errorf("the answer has a block %q: the warehouse process is of another build", kind)
	}
}

var errValue = errors.New("the answer holds a value that ends early or is of an unknown kind")

// readValue reads a value and returns the rest.
func readValue(b []byte) (any, []byte, error) {
	if len(b) == 0 {
		return nil, nil, errValue
	}
	kind, b := b[0], b[1:]
	switch kind {
	case 'n':
		return nil, b, nil
	case 't':
		return true, b, nil
	case 'f':
		return false, b, nil
	case 'i':
		v, n := binary.Varint(b)
		if n <= 0 {
			return nil, nil, errValue
		}
		return v, b[n:], nil
	case 'd':
		if len(b) < 8 {
			return nil, nil, errValue
		}
		return math.Float64frombits(binary.LittleEndian.Uint64(b)), b[8:], nil
	case 'T':
		s, n := binary.Varint(b)
		if n <= 0 {
			return nil, nil, errValue
		}
		ns, m := binary.Uvarint(b[n:])
		if m <= 0 || ns >= 1e9 {
			return nil, nil, errValue
		}
		return time.Unix(s, int64(ns)).UTC(), b[n+m:], nil
	}
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, nil, errValue
	}
	b = b[n:]
	if kind == 'u' {
		return v, b, nil
	}
	if v > uint64(len(b)) {
		return nil, nil, errValue
	}
	body, b := b[:v], b[v:]
	switch kind {
	case 's':
		return string(body), b, nil
	case 'b':
		return append(make([]byte, 0, len(body)), body...), b, nil
	case 'z':
		z, ok := new(big.Int).SetString(string(body), 62)
		if !ok {
			return nil, nil, errValue
		}
		return z, b, nil
	}
	return nil, nil, errValue
}
