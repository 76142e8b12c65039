package duckdb

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// Normalise implements warehouse.Normaliser.
func (e *Engine) Normalise(ctx context.Context, stack event.Stack, properties []warehouse.Property) error {
	if _, err := event.ParseStack(string(stack)); err != nil {
		return err
	}
	if err := warehouse.CheckProperties(properties); err != nil {
		return fmt.Errorf("warehouse: raw_normalized of %s: %w", stack, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.running.Add(1)
	}
	e.mu.Unlock()
	if closed {
		return ErrClosed
	}
	defer e.running.Done()
	// Ours from here on: the state keeps them.
	properties = slices.Clone(properties)
	for i := range properties {
		properties[i].Keys = slices.Clone(properties[i].Keys)
	}
	if err := e.pause(ctx, stack); err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		opened, err := e.normalise(stack, properties)
		switch {
		case err == nil:
			return nil
		case outOfMemory(err) && !broken(err) && attempt < 5:
			release, _ := e.makeRoom()
			defer release()
		case broken(err) && attempt == 0 && e.reopen(opened, err):
		default:
			return fmt.Errorf("warehouse: raw_normalized of %s: %w", stack, err)
		}
	}
}

// restFactor is how long the candidate may not change its columns after it did, in multiples of what it took: making
// views stops everybody's appends.
const restFactor = 20

// pause waits until stack may change its columns.
func (e *Engine) pause(ctx context.Context, stack event.Stack) error {
	e.mu.Lock()
	rest := time.Until(e.rest[stack])
	e.mu.Unlock()
	if live := e.state.live(); rest > 0 && live != "" && live != stack {
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return ctx.Err()
		case <-e.queries.Done():
			return ErrClosed
		}
	}
	e.gate.enter(stack)
	return nil
}

// normalise keeps the properties and makes the views, in one transaction that nobody else writes beside.
func (e *Engine) normalise(stack event.Stack, properties []warehouse.Property) (opened int, err error) {
	e.folding.RLock()
	defer e.folding.RUnlock()
	e.shared.Lock()
	defer e.shared.Unlock()
	if e.db == nil {
		return e.opened, &commitError{e.failed} // have it opened again
	}
	all := e.state.columns()
	if have, ok := all[stack]; ok && reflect.DeepEqual(have, properties) {
		return e.opened, nil
	}
	next := map[event.Stack][]warehouse.Property{stack: properties, stack.Other(): all[stack.Other()]}
	defer func(began time.Time) {
		now := time.Now()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.rest[stack] = now.Add(restFactor * now.Sub(began))
	}(time.Now())
	list, err := json.Marshal(properties)
	if err != nil {
		return e.opened, err
	}
	c, err := e.db.connect()
	if err != nil {
		return e.opened, err
	}
	defer c.close()
	err = c.transaction(func() error {
		if err := c.run("DELETE FROM normalized WHERE stack = ?", string(stack)); err != nil {
			return err
		}
		if err := c.run("INSERT INTO normalized VALUES (?, ?)", string(stack), string(list)); err != nil {
			return err
		}
		return c.execAll(views(e.state.now(), next))
	})
	if err == nil {
		err = e.syncNames()
	}
	if err == nil {
		e.state.normalise(next)
	}
	return e.opened, err
}

// loadNormalized reads what Normalise kept.
func loadNormalized(c *conn) (map[event.Stack][]warehouse.Property, error) {
	all := map[event.Stack][]warehouse.Property{}
	err := c.rows("SELECT stack, properties FROM normalized", nil, func(r []any) error {
		var list []warehouse.Property
		if err := json.Unmarshal([]byte(r[1].(string)), &list); err != nil {
			return err
		}
		stack, err := event.ParseStack(r[0].(string))
		if err == nil {
			err = warehouse.CheckProperties(list)
		}
		all[stack] = list
		return err
	})
	if err != nil {
		err = fmt.Errorf("normalized: %w", err)
	}
	return all, err
}

// mended is data as DuckDB's JSON reader takes it. It refuses a whole document for a lone half of a surrogate pair,
// which JavaScript writes when it cuts a text inside an emoji, and which encoding/json, as the rest of the pipeline,
// reads as U+FFFD. So does this, in the few rows that cannot be read otherwise: what is fine is marked with U+0001, which
// JSON never holds, and so is what is not; then the mark behind what is fine is taken away, and the others replaced.
const mended = `CASE WHEN contains(data, '\u') AND NOT json_valid(data) THEN ` +
	`replace(regexp_replace(regexp_replace(data, '(` + fine + `)|\\u[dD][89a-fA-F][0-9a-fA-F]{2}', '\1' || chr(1), 'g'), '(` + fine + `)' || chr(1), '\1', 'g'), chr(1), '\ufffd') ELSE data END`

// fine matches an escaped backslash, or a whole surrogate pair.
const fine = `\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`

// normalizedView shows a stack's raw with a typed column for each property. Each column parses data for itself: that is
// 0.4 us a row and column that a query uses. All columns from one parse would be 1.7 us a row however few are used, and
// cheaper from the fifth column on (tried). Whoever asks the view binds all of it, so its expressions are short, and none
// has a regular expression, which would be compiled each time.
func normalizedView(stack event.Stack, properties []warehouse.Property) string {
	columns := []string{`"eventId"`, `"timestamp"`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`}
	var values []string
	add := func(kind, name string, keys ...string) {
		value := fmt.Sprintf("j%d", len(values))
		values = append(values, fmt.Sprintf("%s AS %s", extract(keys...), value))
		columns = append(columns, fmt.Sprintf("%s AS %s", typed(kind, value), identifier(name)))
	}
	for _, id := range []string{"deviceId", "userId", "messageId"} {
		add("id", id, id)
	}
	names := warehouse.ColumnNames(properties)
	for i, p := range properties {
		add(p.Type, names[i], append([]string{"properties"}, p.Keys...)...)
	}
	return fmt.Sprintf(`CREATE OR REPLACE VIEW %[1]s.raw_normalized AS SELECT %[2]s FROM (SELECT * EXCLUDE (data), %[3]s FROM (SELECT * EXCLUDE (data), %[4]s AS data FROM %[1]s.raw WHERE %[5]s))`,
		stack, strings.Join(columns, ", "), strings.Join(values, ", "), mended, isRow)
}

// normalizedUnion shows both stacks' rows by role, with the columns of the stack that has the role now.
func normalizedUnion(r rules.Role, t event.Timeline, properties map[event.Stack][]warehouse.Property) string {
	leading := r.Now(t)
	mine := properties[leading]
	names := warehouse.ColumnNames(mine)
	var parts []string
	for _, stack := range event.Stacks() {
		columns := []string{`"eventId"`, `"timestamp"`, `event`, `frame`, `request`, `item`, `run`, `build`, `context`, `"deviceId"`, `"userId"`, `"messageId"`}
		have := map[string]string{} // the stack's columns by property
		theirs := properties[stack]
		for i, name := range warehouse.ColumnNames(theirs) {
			have[theirs[i].Name] = name
		}
		for i, p := range mine {
			value := "NULL"
			if column, ok := have[p.Name]; ok {
				value = identifier(column)
			}
			columns = append(columns, fmt.Sprintf("TRY_CAST(%s AS %s) AS %s", value, columnTypes[p.Type], identifier(names[i])))
		}
		parts = append(parts, fmt.Sprintf(`SELECT %s, '%s' AS stack FROM %s.raw_normalized WHERE run = 0 AND %s`, strings.Join(columns, ", "), stack, stack, r.Frames(t, stack)))
	}
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s.raw_normalized AS %s", r.Name, strings.Join(parts, " UNION ALL "))
}

// columnTypes are the columns' types. Integers have 128 bits, and sums of them too.
var columnTypes = map[string]string{
	warehouse.TypeString: "VARCHAR", warehouse.TypeInteger: "HUGEINT", warehouse.TypeNumber: "DOUBLE",
	warehouse.TypeBoolean: "BOOLEAN", warehouse.TypeTime: "TIMESTAMP", warehouse.TypeJSON: "VARCHAR",
}

// extract is the JSON text at a path of keys; NULL if there is none, or no JSON. The path is a JSON pointer: unlike
// DuckDB's other forms of paths it can name any key.
func extract(keys ...string) string {
	var path strings.Builder
	for _, k := range keys {
		path.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k))
	}
	return fmt.Sprintf("CAST(TRY(json_extract(data, %s)) AS VARCHAR)", literal(path.String()))
}

// typed is the JSON text in column j as a value of the type; NULL if it is of another.
func typed(kind, j string) string {
	const (
		text    = `starts_with(%[1]s, '"')`
		content = `json_extract_string(%[1]s, '$')`
		digits  = `ltrim(%[1]s, '-0123456789') = ''` // of JSON, so it is an integer
	)
	form := ""
	switch kind {
	case "id": // a text, or the digits of an integer
		form = "CASE WHEN " + text + " THEN " + content + " WHEN " + digits + " THEN %[1]s END"
	case warehouse.TypeString:
		form = "CASE WHEN " + text + " THEN " + content + " END"
	case warehouse.TypeInteger:
		form = "CASE WHEN " + digits + " AND length(ltrim(%[1]s, '-')) <= %[2]d THEN TRY_CAST(%[1]s AS HUGEINT) END"
	case warehouse.TypeNumber:
		form = "CASE WHEN isfinite(TRY_CAST(%[1]s AS DOUBLE)) THEN TRY_CAST(%[1]s AS DOUBLE) END"
	case warehouse.TypeBoolean:
		form = "CASE %[1]s WHEN 'true' THEN true WHEN 'false' THEN false END"
	case warehouse.TypeTime:
		// Through microseconds: a cast to TIMESTAMP would drop the offset.
		form = `CASE WHEN %[1]s LIKE '"____-__-__T__:__:__%%' AND (ends_with(%[1]s, 'Z"') OR %[1]s[-7] IN ('+', '-')) THEN make_timestamp(epoch_us(TRY_CAST(` + content + ` AS TIMESTAMPTZ))) END`
	default:
		form = "nullif(%[1]s, 'null')"
	}
	if !strings.Contains(form, "%[2]d") {
		return fmt.Sprintf(form, j)
	}
	return fmt.Sprintf(form, j, warehouse.IntegerDigits)
}

// literal writes a text as SQL.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identifier writes a name as SQL.
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
