package cmd

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/cmd/terminal"
	"github.com/sparrowhq/sparrow/warehouse"
)

// timeFormat is RFC 3339 with the microseconds the warehouse keeps, always all six digits so that text sorts as time.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// cell writes a value as text, exactly: integers with all their digits, bytes as \x and hexadecimal.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return `\x` + hex.EncodeToString(v)
	case time.Time:
		return v.UTC().Format(timeFormat)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	default: // bool, int64, uint64, *big.Int
		return fmt.Sprint(v)
	}
}

// eachRow calls fn for every row. A date is a text by then, without the time that it has not.
func eachRow(rows *warehouse.Rows, fn func([]any) error) error {
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i, v := range row {
			if t, ok := v.(time.Time); ok && rows.Columns[i].Type == "DATE" {
				row[i] = t.UTC().Format(time.DateOnly)
			}
		}
		if err := fn(row); err != nil {
			return err
		}
	}
}

func (p *program) printTable(w io.Writer, rows *warehouse.Rows) error {
	var columns []terminal.Column
	for _, c := range rows.Columns {
		columns = append(columns, terminal.Column{Name: c.Name})
	}
	var cells [][]string
	err := eachRow(rows, func(row []any) error {
		line := make([]string, len(row))
		for i, v := range row {
			switch v := v.(type) {
			case nil:
				line[i] = "NULL"
			case string:
				if most := 8 * terminal.MaxCell; len(v) > most { // what will not be shown need not be kept
					v = strings.ToValidUTF8(v[:most], "") + "…"
				}
				line[i] = terminal.Cell(v, terminal.MaxCell)
			default:
				line[i] = cell(v)
				columns[i].Right = columns[i].Right || number(v)
			}
		}
		cells = append(cells, line)
		return nil
	})
	if err != nil {
		return err
	}
	screen := p.screen(p.Stdout)
	screen.Out = w // it may be on its way to a pager
	if err := screen.Table(columns, cells); err != nil {
		return err
	}
	if screen.Terminal {
		_, err = fmt.Fprintf(w, "%s\n", screen.Styled(terminal.Faint, rowsText(len(cells))))
	}
	return err
}

func rowsText(n int) string {
	if n == 1 {
		return "1 row"
	}
	return terminal.Count(n) + " rows"
}

func number(v any) bool {
	switch v.(type) {
	case int64, uint64, float64, *big.Int:
		return true
	}
	return false
}

// printCSV writes RFC 4180: a header, lines that end in CRLF, and fields exactly as they are. (encoding/csv would
// change the line ends within fields.) NULL is an empty field, an empty string is "".
func printCSV(w io.Writer, rows *warehouse.Rows) error {
	out := bufio.NewWriter(w)
	for i, c := range rows.Columns {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(csvField(c.Name))
	}
	out.WriteString("\r\n")
	err := eachRow(rows, func(row []any) error {
		for i, v := range row {
			if i > 0 {
				out.WriteByte(',')
			}
			if v != nil || len(row) == 1 { // readers skip an empty line
				out.WriteString(csvField(cell(v)))
			}
		}
		_, err := out.WriteString("\r\n")
		return err
	})
	return errors.Join(err, out.Flush())
}

func csvField(s string) string {
	if s != "" && !strings.ContainsAny(s, "\",\r\n") && s[0] != ' ' && s[len(s)-1] != ' ' {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// printJSONRows writes an array with one object a row, each on a line of its own. Integers have all their digits,
// bytes are base64, and the floats that JSON cannot write are strings.
func printJSONRows(w io.Writer, rows *warehouse.Rows) error {
	out := bufio.NewWriter(w)
	out.WriteString("[")
	first := true
	err := eachRow(rows, func(row []any) error {
		if !first {
			out.WriteString(",")
		}
		first = false
		out.WriteString("\n{")
		for i, v := range row {
			if i > 0 {
				out.WriteString(",")
			}
			if err := writeJSON(out, rows.Columns[i].Name); err != nil {
				return err
			}
			out.WriteString(":")
			if err := writeJSON(out, jsonValue(v)); err != nil {
				return err
			}
		}
		_, err := out.WriteString("}")
		return err
	})
	if err != nil {
		return errors.Join(err, out.Flush()) // the array stays open: a cut answer must not parse
	}
	if !first {
		out.WriteString("\n")
	}
	out.WriteString("]\n")
	return out.Flush()
}

func jsonValue(v any) any {
	switch v := v.(type) {
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return cell(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return cell(v)
		}
	case *big.Int:
		return json.RawMessage(v.String())
	}
	return v
}

func writeJSON(w *bufio.Writer, v any) error {
	enc := json.NewEncoder(chomped{w})
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// chomped leaves out the line end that json.Encoder writes after each value.
type chomped struct{ w io.Writer }

func (c chomped) Write(b []byte) (int, error) {
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	_, err := c.w.Write(b)
	return n, err
}
