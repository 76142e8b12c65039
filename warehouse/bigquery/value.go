package bigquery

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	bq "cloud.google.com/go/bigquery"
	"cloud.google.com/go/civil"
)

// typeName is GoogleSQL's name of a column's type.
func typeName(f *bq.FieldSchema) string {
	name := string(f.Type)
	switch f.Type {
	case bq.IntegerFieldType:
		name = "INT64"
	case bq.FloatFieldType:
		name = "FLOAT64"
	case bq.BooleanFieldType:
		name = "BOOL"
	case bq.RecordFieldType:
		name = "STRUCT"
	}
	if f.Repeated {
		return "ARRAY<" + name + ">"
	}
	return name
}

// value is a value as warehouse.Rows has it: nested ones as JSON text, others that have no Go type as GoogleSQL writes
// them.
func value(f *bq.FieldSchema, v bq.Value) any {
	if f.Repeated || f.Type == bq.RecordFieldType {
		if v == nil && !f.Repeated {
			return nil
		}
		text, err := json.Marshal(nested(f, v))
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(text)
	}
	switch v := v.(type) {
	case *big.Rat:
		if v.IsInt() {
			return new(big.Int).Set(v.Num())
		}
		return strings.TrimRight(v.FloatString(38), "0")
	case time.Time:
		return v.UTC()
	case civil.Date:
		return v.In(time.UTC)
	case civil.Time, civil.DateTime:
		return fmt.Sprint(v)
	case nil, bool, int64, float64, string:
		return v
	case []byte:
		if v == nil {
			return []byte{}
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// nested is a nested value as encoding/json takes it.
func nested(f *bq.FieldSchema, v bq.Value) any {
	if v == nil {
		return nil
	}
	if f.Repeated {
		element := *f
		element.Repeated = false
		out := []any{}
		for _, x := range v.([]bq.Value) {
			out = append(out, nested(&element, x))
		}
		return out
	}
	if f.Type == bq.RecordFieldType {
		var b strings.Builder // in the order of its fields
		b.WriteByte('{')
		for i, x := range v.([]bq.Value) {
			if i > 0 {
				b.WriteByte(',')
			}
			name, _ := json.Marshal(f.Schema[i].Name)
			inner, err := json.Marshal(nested(f.Schema[i], x))
			if err != nil {
				inner = []byte("null")
			}
			b.Write(name)
			b.WriteByte(':')
			b.Write(inner)
		}
		b.WriteByte('}')
		return json.RawMessage(b.String())
	}
	switch x := value(f, v).(type) {
	case []byte:
		return base64.StdEncoding.EncodeToString(x)
	case *big.Int:
		return json.Number(x.String())
	case time.Time:
		return x.Format(time.RFC3339Nano)
	default:
		return x
	}
}
