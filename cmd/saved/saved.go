// Package saved reads the queries that the program has built in.
//
// Invariant: docs/queries.md is their only source; a value that somebody gives is passed as a parameter, and never becomes
// a part of the statement.
package saved

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/docs"
	"github.com/sparrowhq/sparrow/warehouse"
)

// Query is one of them.
type Query struct {
	Name  string `json:"name"`
	About string `json:"about"` // a sentence or two
	Args  []Arg  `json:"args,omitempty"`
	text  string // with {name} in place of values

	google  string // the same in GoogleSQL
	dialect warehouse.Dialect
}

// Arg is what a query asks for.
type Arg struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Default string `json:"default,omitempty"`
	Needed  bool   `json:"needed,omitempty"` // there is no default
}

var (
	argument    = regexp.MustCompile("^- `([a-z]+)`: (.*?)(?: \\(default `([^`]*)`\\))?$")
	placeholder = regexp.MustCompile(`\{([a-z]+)\}`)
)

// All returns them in the order of the page.
func All() []Query {
	all, err := parse(docs.Queries)
	if err != nil {
		panic("docs/queries.md: " + err.Error()) // a test reads the page that is built in
	}
	return all
}

// Find returns the query of that name.
func Find(name string) (Query, bool) {
	all := All()
	i := slices.IndexFunc(all, func(q Query) bool { return q.Name == name })
	if i < 0 {
		return Query{}, false
	}
	return all[i], true
}

// parse reads the sections of a page: "## name", words, arguments as a list, a block of SQL and one of GoogleSQL.
func parse(page string) ([]Query, error) {
	var all []Query
	for _, section := range strings.Split(page, "\n## ")[1:] {
		name, rest, _ := strings.Cut(section, "\n")
		q := Query{Name: name}
		before, sql, ok := strings.Cut(rest, "\n```sql\n")
		if !ok {
			return nil, fmt.Errorf("%s has no ```sql block", name)
		}
		q.text, _, _ = strings.Cut(sql, "\n```")
		_, google, ok := strings.Cut(rest, "\n```googlesql\n")
		if !ok {
			return nil, fmt.Errorf("%s has no ```googlesql block", name)
		}
		q.google, _, _ = strings.Cut(google, "\n```")
		var about []string
		for line := range strings.SplitSeq(before, "\n") {
			if m := argument.FindStringSubmatch(line); m != nil {
				q.Args = append(q.Args, Arg{Name: m[1], About: m[2], Default: m[3], Needed: !strings.Contains(line, "(default `")})
			} else if line != "" {
				about = append(about, line)
			}
		}
		q.About = strings.Join(about, " ")
		for _, a := range q.Args {
			if !strings.Contains(q.text, "{"+a.Name+"}") || !strings.Contains(q.google, "{"+a.Name+"}") {
				return nil, fmt.Errorf("%s does not use its argument %s", name, a.Name)
			}
		}
		for _, m := range placeholder.FindAllStringSubmatch(q.text+q.google, -1) {
			if !slices.ContainsFunc(q.Args, func(a Arg) bool { return a.Name == m[1] }) {
				return nil, fmt.Errorf("%s does not explain {%s}", name, m[1])
			}
		}
		all = append(all, q)
	}
	return all, nil
}

// Bind returns the statement with a ? for each value, and the values. Errors name the argument that is missing, or that
// there is none of that name.
func (q Query) Bind(values map[string]string) (sql string, args []any, err error) {
	if err := q.Check(values); err != nil {
		return "", nil, err
	}
	for _, a := range q.Args {
		if _, given := values[a.Name]; a.Needed && !given {
			return "", nil, fmt.Errorf("%s needs --arg %s=…: %s", q.Name, a.Name, a.About)
		}
	}
	now := time.Now()
	text, err := q.moments(values, func(ago time.Duration) string {
		return fmt.Sprintf("TIMESTAMP_MICROS(%d)", now.Add(-ago).UnixMicro())
	})
	if err != nil {
		return "", nil, err
	}
	sql = placeholder.ReplaceAllStringFunc(text, func(mark string) string {
		args = append(args, q.value(mark[1:len(mark)-1], values))
		return "?"
	})
	return sql, args, nil
}

// Check refuses a value for what the query does not ask.
func (q Query) Check(values map[string]string) error {
	for name := range values {
		if !slices.ContainsFunc(q.Args, func(a Arg) bool { return a.Name == name }) {
			return fmt.Errorf("%s has no argument %q%s", q.Name, name, q.asksFor())
		}
	}
	return nil
}

// Show is the statement with the values written into it, for a person to change. What has neither value nor default stays
// as it is on the page.
func (q Query) Show(values map[string]string) string {
	text, err := q.moments(values, func(ago time.Duration) string {
		return fmt.Sprintf("TIMESTAMP_MICROS(UNIX_MICROS(CURRENT_TIMESTAMP()) - %d)", ago.Microseconds())
	})
	if err != nil {
		text = q.text
	}
	return placeholder.ReplaceAllStringFunc(text, func(mark string) string {
		name := mark[1 : len(mark)-1]
		if _, given := values[name]; !given && slices.ContainsFunc(q.Args, func(a Arg) bool { return a.Name == name && a.Needed }) {
			return mark
		}
		value := q.value(name, values)
		if q.dialect.Google {
			return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'", "\n", "\\n", "\r", "\\r").Replace(value) + "'"
		}
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	})
}

func (q Query) value(name string, values map[string]string) string {
	if v, ok := values[name]; ok {
		return v
	}
	for _, a := range q.Args {
		if a.Name == name {
			return a.Default
		}
	}
	return ""
}

func (q Query) asksFor() string {
	if len(q.Args) == 0 {
		return ": it has none"
	}
	var names []string
	for _, a := range q.Args {
		names = append(names, a.Name)
	}
	return ": it has " + strings.Join(names, ", ")
}
