package duckdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"github.com/sparrowhq/sparrow/warehouse"
)

// Parquet writes rows to a Parquet file whose columns BigQuery loads as what they are: times as TIMESTAMP (microseconds,
// UTC), whole numbers as INT64, bytes as BYTES. The file appears whole under its name, synced, or not at all. Rows are
// gathered in a folder beside it, not in memory; what a killed process left of such folders there is removed. It has a DuckDB
// of its own and touches no warehouse.
type Parquet struct {
	path    string
	folder  *folder
	db      *database
	conn    *conn
	rows    *appender
	columns []warehouse.Column
}

// BigQueryType returns the BigQuery type as which a column of an answer is loaded; empty: none that holds it exactly.
func BigQueryType(column warehouse.Column) string {
	switch column.Type {
	case "VARCHAR", "JSON":
		return "STRING"
	case "BLOB":
		return "BYTES"
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER":
		return "INT64"
	case "HUGEINT":
		return "NUMERIC"
	case "DOUBLE":
		return "FLOAT64"
	case "BOOLEAN":
		return "BOOL"
	case "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
		return "TIMESTAMP"
	}
	return ""
}

// staged is the DuckDB type whose Parquet form BigQuery loads as the key.
var staged = map[string]string{
	"STRING": "VARCHAR", "BYTES": "BLOB", "INT64": "BIGINT", "FLOAT64": "DOUBLE", "BOOL": "BOOLEAN",
	"NUMERIC":   "DECIMAL(29, 0)",           // the most whole digits that NUMERIC has
	"TIMESTAMP": "TIMESTAMP WITH TIME ZONE", // without the zone, the file does not say UTC, and BigQuery makes a DATETIME of it
}

// CreateParquet begins a file. Finish or Close must follow.
func CreateParquet(path string, columns []warehouse.Column) (_ *Parquet, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	p := &Parquet{path: path, columns: columns}
	fail := func(err error) (*Parquet, error) {
		p.Close()
		return nil, fmt.Errorf("parquet %s: %w", path, err)
	}
	var list []string
	var nullable []int
	for i, c := range columns {
		t, ok := staged[BigQueryType(c)]
		if !ok {
			return fail(fmt.Errorf("column %q is of type %s, which BigQuery has none for: leave it out, or cast it to VARCHAR", c.Name, c.Type))
		}
		list = append(list, fmt.Sprintf(`"%s" %s`, strings.ReplaceAll(c.Name, `"`, `""`), t))
		nullable = append(nullable, i)
	}
	removeLeft(filepath.Dir(path))
	if p.folder, err = newFolder(path); err != nil {
		return fail(err)
	}
	p.db, err = openNative(filepath.Join(p.folder.path, "rows"), map[string]string{
		"memory_limit": "256MiB", "threads": "1", "temp_directory": filepath.Join(p.folder.path, "tmp"), "preserve_insertion_order": "true",
		"autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
	})
	if err != nil {
		p.db = nil
		return fail(err)
	}
	if p.conn, err = p.db.connect(); err != nil {
		return fail(err)
	}
	if err := p.conn.exec("CREATE TABLE rows (" + strings.Join(list, ", ") + ")"); err != nil {
		return fail(err)
	}
	if p.rows, err = newAppender(p.conn, "main", "rows", len(columns), nullable...); err != nil {
		return fail(err)
	}
	return p, nil
}

// Put adds a row, of values as warehouse.Rows gives them.
func (p *Parquet) Put(row []any) error {
	if len(row) != len(p.columns) {
		return fmt.Errorf("parquet %s: a row has %d values, want %d", p.path, len(row), len(p.columns))
	}
	if err := p.rows.next(); err != nil {
		return fmt.Errorf("parquet %s: %w", p.path, err)
	}
	for i, v := range row {
		if !p.put(i, v) {
			return fmt.Errorf("parquet %s: column %q of type %s has a %T", p.path, p.columns[i].Name, p.columns[i].Type, v)
		}
	}
	p.rows.size++
	return nil
}

// put writes a value; it reports false if the column cannot hold it exactly.
func (p *Parquet) put(i int, v any) bool {
	kind := BigQueryType(p.columns[i])
	a := p.rows
	switch v := v.(type) {
	case nil:
		a.null(i)
		return true
	case string:
		a.bytes(i, []byte(v))
		return kind == "STRING"
	case []byte:
		a.bytes(i, v)
		return kind == "BYTES"
	case int64:
		if kind == "NUMERIC" {
			return p.wide(i, big.NewInt(v))
		}
		set(a, i, v)
		return kind == "INT64"
	case *big.Int:
		return kind == "NUMERIC" && p.wide(i, v)
	case float64:
		*(*float64)(unsafe.Add(a.data[i], uintptr(a.size)*unsafe.Sizeof(v))) = v
		return kind == "FLOAT64"
	case bool:
		*(*bool)(unsafe.Add(a.data[i], uintptr(a.size)*unsafe.Sizeof(v))) = v
		return kind == "BOOL"
	case time.Time:
		set(a, i, v.UnixMicro())
		return kind == "TIMESTAMP"
	}
	return false
}

// mostWide is beyond what a NUMERIC holds.
var mostWide = new(big.Int).Exp(big.NewInt(10), big.NewInt(29), nil)

// wide writes 128 bits, in two's complement, the lower half first.
func (p *Parquet) wide(i int, v *big.Int) bool {
	if v.CmpAbs(mostWide) >= 0 {
		return false
	}
	bits := new(big.Int).Abs(v)
	if v.Sign() < 0 {
		bits.Sub(new(big.Int).Lsh(big.NewInt(1), 128), bits)
	}
	var b [16]byte
	bits.FillBytes(b[:])
	*(*[2]uint64)(unsafe.Add(p.rows.data[i], p.rows.size*16)) = [2]uint64{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[:8])}
	return true
}

// Finish writes the file, syncs it and gives it its name, in place of one that may be there.
func (p *Parquet) Finish() error {
	if err := p.finish(); err != nil {
		return fmt.Errorf("parquet %s: %w", p.path, err)
	}
	return nil
}

func (p *Parquet) finish() error {
	if err := p.rows.flush(); err != nil {
		return err
	}
	tmp := filepath.Join(p.folder.path, "parquet")
	if err := p.conn.exec(fmt.Sprintf("COPY rows TO '%s' (FORMAT parquet, COMPRESSION zstd)", strings.ReplaceAll(tmp, "'", "''"))); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o600); err != nil { // DuckDB leaves that to the umask
		return err
	}
	if err := syncFile(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, p.path); err != nil {
		return err
	}
	if err := syncFile(filepath.Dir(p.path)); err != nil {
		return err
	}
	return p.Close()
}

// Close gives up what is not finished.
func (p *Parquet) Close() error {
	if p.rows != nil {
		p.rows.close()
		p.rows = nil
	}
	if p.conn != nil {
		p.conn.close()
		p.conn = nil
	}
	if p.db != nil {
		p.db.close()
		p.db = nil
	}
	if p.folder == nil {
		return nil
	}
	return p.folder.remove()
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
