package served

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/warehouse"
)

// maxQuery bounds the body of POST /v1/query.
const maxQuery = 1 << 20

// readerPatience is how long a reader may take no byte before its query is given up: it holds a snapshot.
const readerPatience = 30 * time.Second

func (h *handler) query(w http.ResponseWriter, r *http.Request) {
	q, err := decodeQuery(http.MaxBytesReader(w, r.Body, maxQuery))
	if err != nil {
		h.refuse(w, r, &invalid{err})
		return
	}
	rows, err := h.o.Warehouse.Query(r.Context(), q)
	if err != nil {
		if describe(err).Reason == reasonFailed {
			err = &invalid{err} // the statement's fault, or the query's bounds: its text goes to who asked, never to a log
		}
		h.refuse(w, r, err)
		return
	}
	defer rows.Close()
	w.Header().Set("Content-Type", RowsType)
	control := http.NewResponseController(w)
	out := &rowsWriter{w: w, flush: func() error {
		control.SetWriteDeadline(time.Now().Add(readerPatience))
		return control.Flush()
	}}
	control.SetWriteDeadline(time.Now().Add(readerPatience))
	if err := out.sendJSON(blockColumns, rows.Columns); err != nil {
		return // the reader is gone
	}
	last := end{}
	for {
		row, err := rows.Next()
		if err == nil {
			err = out.row(row)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p := describe(err)
			last.Problem = &p
			break
		}
	}
	outcome := "ok"
	if last.Problem != nil {
		outcome = last.Problem.Reason
		out.block = nil
	}
	h.metrics.requests.WithLabelValues("query", outcome).Inc()
	if out.sendRows() != nil {
		return
	}
	last.Rows, last.Truncated = out.rows, rows.Truncated()
	out.sendJSON(blockEnd, last)
}

// decodeQuery reads a warehouse.Query, its numbers as what they look like: with a point or an exponent a float,
// otherwise an integer.
func decodeQuery(r io.Reader) (warehouse.Query, error) {
	var q warehouse.Query
	dec := json.NewDecoder(r)
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		return q, fmt.Errorf("query: %w", err)
	}
	for i, arg := range q.Args {
		switch v := arg.(type) {
		case nil, bool, string:
		case json.Number:
			n, err := number(v.String())
			if err != nil {
				return q, fmt.Errorf("argument %d: %w", i+1, err)
			}
			q.Args[i] = n
		default:
			return q, fmt.Errorf("argument %d: want a string, an integer, a float, a boolean or null", i+1)
		}
	}
	return q, nil
}

func number(s string) (any, error) {
	if strings.ContainsAny(s, ".eE") {
		return strconv.ParseFloat(s, 64)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	return strconv.ParseUint(s, 10, 64)
}

// encodeQuery writes what decodeQuery reads.
func encodeQuery(q warehouse.Query) ([]byte, error) {
	args := make([]any, len(q.Args))
	for i, arg := range q.Args {
		switch v := arg.(type) {
		case nil, bool, string, int, int32, int64, uint32, uint64:
			args[i] = v
		case float64:
			text := strconv.FormatFloat(v, 'g', -1, 64)
			if !strings.ContainsAny(text, ".e") {
				text += ".0"
			}
			if _, err := json.Marshal(v); err != nil {
				return nil, fmt.Errorf("argument %d: %v cannot be sent", i+1, v)
			}
			args[i] = json.Number(text)
		default:
			return nil, fmt.Errorf("argument %d is of type %T: want a string, an integer, a float, a boolean or null", i+1, arg)
		}
	}
	q.Args = args
	return json.Marshal(q)
}
