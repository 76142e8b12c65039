package fake

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
	bq "google.golang.org/api/bigquery/v2"
)

// arguments returns positional parameters as DuckDB's driver takes them.
func arguments(all []*bq.QueryParameter) ([]any, error) {
	var out []any
	for _, p := range all {
		text := p.ParameterValue.Value
		var v any
		var err error
		switch p.ParameterType.Type {
		case "INT64":
			v, err = strconv.ParseInt(text, 10, 64)
		case "FLOAT64":
			v, err = strconv.ParseFloat(text, 64)
		case "BOOL":
			v, err = strconv.ParseBool(text)
		case "STRING":
			v = text
			for _, f := range p.ParameterValue.NullFields {
				if f == "Value" {
					v = nil
				}
			}
		case "BIGNUMERIC", "NUMERIC":
			n, ok := new(big.Int).SetString(text, 10)
			if !ok {
				return nil, fmt.Errorf("parameter %q is no number", text)
			}
			v = n
		case "BYTES":
			v, err = base64.StdEncoding.DecodeString(text)
		case "TIMESTAMP":
			v, err = time.Parse("2006-01-02 15:04:05.999999-07:00", text)
		default:
			return nil, fmt.Errorf("the fake has no parameters of type %s", p.ParameterType.Type)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// field is BigQuery's word for a type of DuckDB's.
func field(name, kind string) (*bq.TableFieldSchema, error) {
	f := &bq.TableFieldSchema{Name: name, Mode: "NULLABLE"}
	if element, ok := strings.CutSuffix(kind, "[]"); ok {
		f.Mode, kind = "REPEATED", element
	}
	switch {
	case strings.HasSuffix(kind, "INT") && kind != "HUGEINT" && kind != "UBIGINT" && kind != "UHUGEINT", kind == "INTEGER", kind == "UINTEGER":
		f.Type = "INTEGER"
	case kind == "DOUBLE", kind == "FLOAT":
		f.Type = "FLOAT"
	case kind == "VARCHAR", kind == "JSON", kind == "SQLNULL", kind == `"NULL"`, kind == "UUID":
		f.Type = "STRING"
	case kind == "BLOB":
		f.Type = "BYTES"
	case kind == "BOOLEAN":
		f.Type = "BOOLEAN"
	case strings.HasPrefix(kind, "TIMESTAMP"):
		f.Type = "TIMESTAMP"
	case kind == "DATE", kind == "TIME":
		f.Type = kind
	case kind == "HUGEINT", kind == "BIGNUM", kind == "UBIGINT", kind == "UHUGEINT", strings.HasPrefix(kind, "DECIMAL"):
		f.Type = "BIGNUMERIC"
	default:
		return nil, fmt.Errorf("the fake has no word for DuckDB's type %s of column %s", kind, name)
	}
	return f, nil
}

// cell is a value as the REST API writes it.
func cell(f *bq.TableFieldSchema, v any) any {
	if list, ok := v.([]any); ok {
		out := []any{}
		for _, x := range list {
			out = append(out, map[string]any{"v": cell(&bq.TableFieldSchema{Type: f.Type}, x)})
		}
		return out
	}
	switch v := v.(type) {
	case nil:
		return nil
	case bool:
		return strconv.FormatBool(v)
	case string:
		return v
	case []byte:
		if f.Type == "STRING" {
			return string(v)
		}
		return base64.StdEncoding.EncodeToString(v)
	case float32:
		return float(float64(v))
	case float64:
		return float(v)
	case *big.Int:
		return v.String()
	case duckdb.Decimal:
		return v.String()
	case time.Time:
		switch f.Type {
		case "DATE":
			return v.Format("2006-01-02")
		case "TIME":
			return v.Format("15:04:05.999999")
		}
		return strconv.FormatInt(v.UnixMicro(), 10)
	default:
		return fmt.Sprint(v)
	}
}

func float(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
