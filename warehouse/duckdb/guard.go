package duckdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	native "github.com/duckdb/duckdb-go-bindings"

	"github.com/sparrowhq/sparrow/warehouse"
)

// maxStatement bounds a statement, in bytes.
const maxStatement = 128 << 10

// tableFunctions are the table functions a query may call. DuckDB has no switch for the others, and some do harm even
// in a read-only transaction of a database without external access (tried): enable_logging() in a SELECT starts to
// keep every statement in memory, truncate_duckdb_logs() and checkpoint() act, read_blob() may read the database's own
// file and its spill folder, and query() and json_execute_serialized_sql() run text that nobody has looked at.
var tableFunctions = setOf("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "summary",
	"duckdb_columns", "duckdb_constraints", "duckdb_functions", "duckdb_indexes", "duckdb_keywords", "duckdb_memory", "duckdb_schemas",
	"duckdb_tables", "duckdb_temporary_files", "duckdb_types", "duckdb_views",
	"pragma_database_size", "pragma_show", "pragma_storage_info", "pragma_table_info", "pragma_version",
	"icu_calendar_names", "pg_timezone_names", "test_all_types")

// forbidden are the other functions that a query may not call: they act, or hold a connection for nothing.
var forbidden = setOf("write_log", "sleep_ms", "pg_sleep", "nextval", "currval", "json_execute_serialized_sql", "query", "query_table")

// endless are those whose single call takes the product of two lengths, and cannot be interrupted: two texts of 300 kB,
// which a statement of 80 bytes can make, are minutes (tried). All that time the transaction stays open, DuckDB keeps
// what each append changed, and nothing is folded into the file.
var endless = setOf("levenshtein", "editdist3", "damerau_levenshtein", "jaro_similarity", "jaro_winkler_similarity")

func setOf(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// readOnly prepares sql if it is a single statement that only reads.
func (c *conn) readOnly(sql string) (*statement, error) {
	if len(sql) > maxStatement {
		return nil, fmt.Errorf("the statement has %d bytes, the most is %d: pass long values as parameters", len(sql), maxStatement)
	}
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return nil, fmt.Errorf("the statement has a NUL byte at offset %d", i)
	}
	if err := c.single(sql); err != nil {
		return nil, err
	}
	explained := explain.ReplaceAllString(sql, "")
	if explained != sql {
		if err := c.single(explained); err != nil {
			return nil, err
		}
	}
	if err := c.inspect(explained); err != nil {
		return nil, err
	}
	s, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	if s.kind != native.StatementTypeSelect && s.kind != native.StatementTypeExplain {
		s.close()
		return nil, notSelect(sql)
	}
	return s, nil
}

// explain is what may stand before a statement that is to be explained. EXPLAIN ANALYZE runs its statement, so that one
// must pass every check too.
var explain = regexp.MustCompile(`(?is)^(?:\s|--[^\n]*\n|/\*.*?\*/)*EXPLAIN\b(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:ANALYZE\b|VERBOSE\b|\([^()]*\))?`)

// single refuses anything but one statement, before any of them is prepared.
func (c *conn) single(sql string) error {
	var all native.ExtractedStatements
	n := native.ExtractStatements(c.handle, sql, &all)
	defer native.DestroyExtracted(&all)
	switch {
	case n == 1:
		return nil
	case n > 1 && moves.MatchString(comments.ReplaceAllString(sql, "")): // one statement, which DuckDB divides
		return notSelect(sql)
	case n > 1 && pivots.MatchString(sql):
		return fmt.Errorf("%w: PIVOT must name its values, or DuckDB makes several statements of it: PIVOT … ON column IN ('a', 'b')", warehouse.ErrReadOnly)
	case n > 1:
		return fmt.Errorf("%w: these are %d statements; %s", warehouse.ErrReadOnly, n, adviceSingle)
	}
	if message := native.ExtractStatementsError(all); message != "" {
		err := messageError(message)
		if isKind(err, native.ErrorTypePermission) { // IMPORT DATABASE looks for its file while it is parsed
			return notSelect(sql)
		}
		return err
	}
	return fmt.Errorf("%w: the statement is empty", warehouse.ErrReadOnly)
}

// inspect has DuckDB itself take the statement apart and looks at every function it calls and every table it names.
func (c *conn) inspect(sql string) error {
	v, err := c.value("SELECT json_serialize_sql(?::VARCHAR)", sql)
	if err != nil {
		return err
	}
	var tree struct {
		Error   bool   `json:"error"`
		Type    string `json:"error_type"`
		Message string `json:"error_message"`

		Statements []any `json:"statements"`
	}
	if err := json.Unmarshal([]byte(v.(string)), &tree); err != nil {
		return fmt.Errorf("the statement cannot be checked: %w", err)
	}
	switch {
	case tree.Error && tree.Type == "not implemented":
		return notSelect(sql)
	case tree.Error:
		return errors.New(tree.Message)
	case len(tree.Statements) != 1:
		return fmt.Errorf("%w: these are %d statements; %s", warehouse.ErrReadOnly, len(tree.Statements), adviceSingle)
	}
	return walk(tree.Statements[0])
}

// notSelect says what a statement is that is no SELECT, by its first word: preparing it just for that would run part of
// it.
func notSelect(sql string) error {
	sql = comments.ReplaceAllString(sql, "")
	word := strings.ToUpper(firstWord.FindString(sql))
	if word == "" {
		word = "something else"
	}
	return fmt.Errorf("%w: this is %s; %s", warehouse.ErrReadOnly, word, insteadOf(sql))
}

var (
	comments  = regexp.MustCompile(`(?s)^(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*`)
	firstWord = regexp.MustCompile(`^[A-Za-z]+`)
	pivots    = regexp.MustCompile(`(?i)^[^;]*\bPIVOT(?:_WIDER)?\b[^;]*;?\s*$`)
	moves     = regexp.MustCompile(`(?is)^(COPY|IMPORT|EXPORT)\b[^;]*;?\s*$`)
)

// walk visits every node.
func walk(node any) error {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			if err := walk(child); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := look(n); err != nil {
			return err
		}
		for _, child := range n {
			if err := walk(child); err != nil {
				return err
			}
		}
	}
	return nil
}

// look refuses a node that calls or names what a query may not.
func look(node map[string]any) error {
	if function, ok := node["function_name"].(string); ok {
		switch name := strings.ToLower(function); {
		case forbidden[name]:
			return fmt.Errorf("%w: it calls %s(); %s", warehouse.ErrReadOnly, function, adviceTables)
		case endless[name]:
			return fmt.Errorf("%s() is not allowed: one call on long texts takes minutes and cannot be stopped; %s", function, adviceElse)
		}
	}
	switch node["type"] {
	case "TABLE_FUNCTION":
		call, _ := node["function"].(map[string]any)
		function, _ := call["function_name"].(string)
		if !tableFunctions[strings.ToLower(function)] {
			return fmt.Errorf("%w: it calls the table function %s(); %s", warehouse.ErrReadOnly, function, adviceTables)
		}
	case "BASE_TABLE", "SHOW_REF":
		// DuckDB takes a table name that looks like a path for a file to read.
		if name, _ := node["table_name"].(string); strings.ContainsAny(name, `/\.*?`) {
			return fmt.Errorf("%w: table %q is no table of this warehouse; %s", warehouse.ErrReadOnly, name, adviceTables)
		}
	}
	return nil
}
