package telemetry

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"reflect"
)

// newLogger returns a logger whose every message and value goes through h.
func newLogger(o Options, out io.Writer, h hider) *slog.Logger {
	opts := &slog.HandlerOptions{Level: o.Level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		a.Value = h.value(a.Value)
		return a
	}}
	var handler slog.Handler = slog.NewTextHandler(out, opts)
	if o.Format == "json" {
		handler = slog.NewJSONHandler(out, opts)
	}
	log := slog.New(handler).With("process", o.Process)
	if o.Stack != "" {
		log = log.With("stack", o.Stack)
	}
	return log
}

// value returns v as it may be logged. Bytes never are: nobody knows whose they are.
func (h hider) value(v slog.Value) slog.Value {
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(h.text(v.String()))
	case slog.KindAny:
		return h.any(v.Any())
	default:
		return v // numbers, times, booleans; the attributes of a group come one by one
	}
}

func (h hider) any(v any) slog.Value {
	var text string
	switch v := v.(type) {
	case nil, slog.Level, *slog.Source:
		return slog.AnyValue(v)
	case []byte:
		return slog.StringValue(fmt.Sprintf("%d bytes", len(v)))
	case json.RawMessage:
		return slog.StringValue(fmt.Sprintf("%d bytes", len(v)))
	case error:
		text = v.Error()
	case fmt.Stringer:
		text = v.String()
	case encoding.TextMarshaler:
		b, err := v.MarshalText()
		if err != nil {
			return slog.StringValue(fmt.Sprintf("%T", v))
		}
		text = string(b)
	default:
		if named := reflect.ValueOf(v); named.Kind() == reflect.String { // as JSON it would be quoted twice
			text = named.String()
			break
		}
		b, err := json.Marshal(v)
		if err != nil {
			return slog.StringValue(fmt.Sprintf("%T", v))
		}
		text = string(b)
	}
	return slog.StringValue(h.text(text))
}
