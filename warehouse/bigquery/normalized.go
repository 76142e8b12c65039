package bigquery

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// maxView bounds the text of a view: BigQuery takes no more.
const maxView = 256 << 10

// properties are the columns of raw_normalized, by stack.
type properties map[event.Stack][]warehouse.Property

// Normalise implements warehouse.Normaliser.
func (e *Engine) Normalise(ctx context.Context, stack event.Stack, list []warehouse.Property) error {
	if _, err := event.ParseStack(string(stack)); err != nil {
		return err
	}
	if err := warehouse.CheckProperties(list); err != nil {
		return fmt.Errorf("warehouse: raw_normalized of %s: %w", stack, err)
	}
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.reading.Add(1)
	}
	e.mu.Unlock()
	if closed {
		return ErrClosed
	}
	defer e.reading.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.running, cancel)()
	if err := e.normalise(ctx, stack, list); err != nil {
		return fmt.Errorf("warehouse: raw_normalized of %s: %w", stack, err)
	}
	return nil
}

// normalise keeps the list, then makes the views.
func (e *Engine) normalise(ctx context.Context, stack event.Stack, list []warehouse.Property) error {
	e.known.learning.Lock()
	defer e.known.learning.Unlock()
	all, revision := e.known.columns()
	if have, ok := all[stack]; ok && reflect.DeepEqual(have, list) {
		return e.follow(ctx)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	var own []warehouse.Property // ours from here on
	if err := json.Unmarshal(text, &own); err != nil {
		return err
	}
	next := maps.Clone(all)
	if next == nil {
		next = properties{}
	}
	next[stack] = own
	views := e.names.cutViews(e.known.get().Timeline, next)
	for _, v := range views {
		if len(v) > maxView {
			return fmt.Errorf("%d properties make a view of %d bytes, BigQuery takes %d: list fewer", len(list), len(v), maxView)
		}
	}
	var r row
	r.text(string(stack))
	r.int(revision + 1)
	r.blob(text)
	if err := e.appendShared(ctx, normalizedLog, [][]byte{r.bytes}); err != nil {
		return err
	}
	e.known.normalise(next, revision+1)
	e.known.behind = true
	return e.follow(ctx)
}

// follow makes the views anew if they are behind what is kept. The caller holds learning.
func (e *Engine) follow(ctx context.Context) error {
	if !e.known.behind {
		return nil
	}
	all, _ := e.known.columns()
	if err := e.cut(ctx, e.known.get().Timeline, all); err != nil {
		return err
	}
	e.known.behind = false
	return nil
}

// loadNormalized reads what Normalise kept.
func (e *Engine) loadNormalized(ctx context.Context) (all properties, revision int64, err error) {
	all = properties{}
	err = e.each(ctx, e.names.properties(), func(r []any) error {
		var list []warehouse.Property
		if err := json.Unmarshal([]byte(r[2].(string)), &list); err != nil {
			return err
		}
		stack, err := event.ParseStack(r[0].(string))
		if err == nil {
			err = warehouse.CheckProperties(list)
		}
		all[stack], revision = list, r[1].(int64)
		return err
	})
	if err != nil {
		err = fmt.Errorf("normalized: %w", err)
	}
	return all, revision, err
}

// fixed are the columns that raw_normalized has of raw.
var fixed = []column{{"eventId", ""}, {"timestamp", ""}, {"event", ""}, {"frame", ""}, {"request", ""}, {"item", ""}, {"run", ""}, {"build", ""}, {"context", ""}}

// ids are the columns that raw_normalized has of every event.
var ids = []column{{"deviceId", ""}, {"userId", ""}, {"messageId", ""}}

// normalizedView shows a stack's raw with a typed column for each property.
func (n names) normalizedView(stack event.Stack, of []warehouse.Property) string {
	columns := []string{list("", fixed)}
	var values []string
	add := func(kind, name string, keys ...string) {
		value := fmt.Sprintf("j%d", len(values))
		values = append(values, fmt.Sprintf("JSON_QUERY(data, %s) AS %s", text(jsonPath(keys)), value))
		columns = append(columns, typed(kind, value)+" AS "+quote(name))
	}
	for _, id := range ids {
		add("id", id.name, id.name)
	}
	columnNames := warehouse.ColumnNames(of)
	for i, p := range of {
		add(p.Type, columnNames[i], append([]string{"properties"}, p.Keys...)...)
	}
	return "CREATE OR REPLACE VIEW " + n.in(string(stack), "raw_normalized") + " AS\nSELECT " + strings.Join(columns, ",\n  ") +
		"\nFROM (\nSELECT " + list("", fixed) + ",\n  " + strings.Join(values, ",\n  ") + "\nFROM (\n" + n.events(rawLog, stack, standing) + "\n) AS e\n) AS r"
}

// normalizedUnion shows both stacks' rows by role, with the columns of the stack that has the role now.
func (n names) normalizedUnion(r rules.Role, t event.Timeline, all properties) string {
	mine := all[r.Now(t)]
	columnNames := warehouse.ColumnNames(mine)
	var parts []string
	for _, stack := range event.Stacks() {
		columns := []string{list("", slices.Concat(fixed, ids))}
		have := map[string]int{} // the stack's columns by property
		theirs := all[stack]
		for i, p := range theirs {
			have[p.Name] = i
		}
		theirNames := warehouse.ColumnNames(theirs)
		for i, p := range mine {
			value := "CAST(NULL AS " + columnTypes[p.Type] + ")"
			if j, ok := have[p.Name]; ok {
				value = quote(theirNames[j])
				if columnTypes[theirs[j].Type] != columnTypes[p.Type] { // text goes between any two types
					value = "SAFE_CAST(CAST(" + value + " AS STRING) AS " + columnTypes[p.Type] + ")"
				}
			}
			columns = append(columns, value+" AS "+quote(columnNames[i]))
		}
		parts = append(parts, fmt.Sprintf("SELECT %s, '%s' AS stack\nFROM %s\nWHERE run = 0 AND %s", strings.Join(columns, ", "), stack, n.in(string(stack), "raw_normalized"), r.Frames(t, stack)))
	}
	return "CREATE OR REPLACE VIEW " + n.in(r.Name, "raw_normalized") + " AS\n" + strings.Join(parts, "\nUNION ALL\n")
}

// columnTypes are the columns' types. NUMERIC holds 29 digits before the point.
var columnTypes = map[string]string{
	warehouse.TypeString: "STRING", warehouse.TypeInteger: "NUMERIC", warehouse.TypeNumber: "FLOAT64",
	warehouse.TypeBoolean: "BOOL", warehouse.TypeTime: "TIMESTAMP", warehouse.TypeJSON: "STRING",
}

// jsonPath is the path to a value. Every key is in quotes, so that it may be anything.
func jsonPath(keys []string) string {
	var b strings.Builder
	b.WriteByte('$')
	for _, k := range keys {
		b.WriteString(`."` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(k) + `"`)
	}
	return b.String()
}

// typed is the JSON text in column j as a value of the type; NULL if it is of another.
func typed(kind, j string) string {
	const (
		isText  = `STARTS_WITH(%[1]s, '"')`
		content = `JSON_VALUE(%[1]s, '$')`
		digits  = `REGEXP_CONTAINS(%[1]s, '^-?[0-9]+$')` // of JSON, so it is an integer
		number  = `SAFE_CAST(%[1]s AS FLOAT64)`
	)
	form := "%[1]s"
	switch kind {
	case "id": // a text, or the digits of an integer
		form = "CASE WHEN " + isText + " THEN " + content + " WHEN " + digits + " THEN %[1]s END"
	case warehouse.TypeString:
		form = "CASE WHEN " + isText + " THEN " + content + " END"
	case warehouse.TypeInteger:
		form = "CASE WHEN REGEXP_CONTAINS(%[1]s, '^-?[0-9]{1,%[2]d}$') THEN SAFE_CAST(%[1]s AS NUMERIC) END"
	case warehouse.TypeNumber:
		form = "CASE WHEN NOT IS_INF(" + number + ") AND NOT IS_NAN(" + number + ") THEN " + number + " END"
	case warehouse.TypeBoolean:
		form = "CASE %[1]s WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END"
	case warehouse.TypeTime:
		// BigQuery takes six digits of a second; further ones are cut off.
		form = `CASE WHEN REGEXP_CONTAINS(%[1]s, '^"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})"$') THEN SAFE.TIMESTAMP(REGEXP_REPLACE(` + content + `, '([.][0-9]{6})[0-9]+', '\\1')) END`
	}
	if !strings.Contains(form, "%[2]d") {
		return fmt.Sprintf(form, j)
	}
	return fmt.Sprintf(form, j, warehouse.IntegerDigits)
}

// text writes a text as GoogleSQL, in ASCII without anything that could end it.
func text(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r > '~':
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
