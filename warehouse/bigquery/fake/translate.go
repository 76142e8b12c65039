package fake

import (
	"fmt"
	"slices"
	"strings"
)

// token is a word, name, text, number or sign of a statement.
type token struct {
	kind byte // 'w' word, 'n' quoted name, 's' text, '0' number, 'p' sign
	text string
}

func (t token) is(word string) bool { return t.kind != 's' && strings.EqualFold(t.text, word) }

// lex takes a GoogleSQL statement apart. Comments are dropped.
func lex(sql string) ([]token, error) {
	var out []token
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '#' || strings.HasPrefix(sql[i:], "--"):
			for i < len(sql) && sql[i] != '\n' {
				i++
			}
		case strings.HasPrefix(sql[i:], "/*"):
			end := strings.Index(sql[i+2:], "*/")
			if end < 0 {
				return nil, fmt.Errorf("syntax error: Unclosed comment")
			}
			i += end + 4
		case c == '`':
			end := strings.IndexByte(sql[i+1:], '`')
			if end < 0 {
				return nil, fmt.Errorf("syntax error: Unclosed identifier literal")
			}
			for j, part := range strings.Split(sql[i+1:i+1+end], ".") {
				if j > 0 {
					out = append(out, token{'p', "."})
				}
				out = append(out, token{'n', part})
			}
			i += end + 2
		case c == '\'' || c == '"':
			text, n, err := literal(sql[i:])
			if err != nil {
				return nil, err
			}
			out = append(out, token{'s', text})
			i += n
		case letter(c):
			j := i
			for j < len(sql) && (letter(sql[j]) || digit(sql[j])) {
				j++
			}
			out = append(out, token{'w', sql[i:j]})
			i = j
		case digit(c) || c == '.' && i+1 < len(sql) && digit(sql[i+1]) && (len(out) == 0 || out[len(out)-1].kind == 'p' && out[len(out)-1].text != ")"):
			j := i
			for j < len(sql) && (digit(sql[j]) || letter(sql[j]) || sql[j] == '.' || (sql[j] == '-' || sql[j] == '+') && (sql[j-1] == 'e' || sql[j-1] == 'E') && !strings.HasPrefix(sql[i:], "0x")) {
				j++
			}
			out = append(out, token{'0', sql[i:j]})
			i = j
		default:
			n := 1
			for _, two := range []string{"<>", "!=", "<=", ">=", "||", "<<", ">>", "=>"} {
				if strings.HasPrefix(sql[i:], two) {
					n = 2
				}
			}
			out = append(out, token{'p', sql[i : i+n]})
			i += n
		}
	}
	return out, nil
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
func digit(c byte) bool { return c >= '0' && c <= '9' }

// literal reads a text literal and returns what it says and how long it is.
func literal(s string) (text string, n int, err error) {
	quote := s[:1]
	if strings.HasPrefix(s, strings.Repeat(quote, 3)) {
		quote = s[:3]
	}
	var b strings.Builder
	for i := len(quote); i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], quote):
			return b.String(), i + len(quote), nil
		case s[i] == '\n' && len(quote) == 1:
			return "", 0, fmt.Errorf("syntax error: Unclosed string literal")
		case s[i] == '\\' && i+1 < len(s):
			escapes := map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'b': "\b", 'f': "\f", 'a': "\a", 'v': "\v", '\\': "\\", '\'': "'", '"': "\"", '`': "`", '?': "?"}
			v, ok := escapes[s[i+1]]
			if !ok {
				var r rune
				size := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i+1]]
				if size == 0 || len(s) < i+2+size {
					return "", 0, fmt.Errorf("syntax error: Illegal escape sequence: \\%c", s[i+1])
				}
				if _, err := fmt.Sscanf(s[i+2:i+2+size], "%x", &r); err != nil {
					return "", 0, fmt.Errorf("syntax error: Illegal escape sequence: \\%c", s[i+1])
				}
				v = string(r)
				i += size
			}
			b.WriteString(v)
			i += 2
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return "", 0, fmt.Errorf("syntax error: Unclosed string literal")
}

// types are GoogleSQL's, in DuckDB's words. A NUMERIC is an integer here, which is all we use it for.
var types = map[string]string{
	"INT64": "BIGINT", "FLOAT64": "DOUBLE", "STRING": "VARCHAR", "BYTES": "BLOB", "BOOL": "BOOLEAN", "BIGNUMERIC": "DECIMAL(38,0)", "NUMERIC": "HUGEINT", "DATETIME": "TIMESTAMP",
}

// functions are called otherwise in DuckDB. Those that are not the same under another name are macros, below.
var functions = map[string]string{
	"TIMESTAMP_MICROS": "make_timestamp", "UNIX_MICROS": "epoch_us", "SAFE_CAST": "TRY_CAST", "BYTE_LENGTH": "octets", "GENERATE_ARRAY": "generate_series",
	"FARM_FINGERPRINT": "fingerprint", "TO_JSON_STRING": "json_text", "JSON_VALUE": "json_value_at", "JSON_QUERY": "json_at", "REGEXP_CONTAINS": "regexp_matches", "IS_INF": "isinf", "IS_NAN": "isnan", "SUBSTR": "substr", "ERROR": "error", "DIV": "quotient", "STRPOS": "found_at", "CURRENT_TIMESTAMP": "clock",
	"CODE_POINTS_TO_STRING": "code_points", "SHA256": "sha256_bytes", "JSON_TYPE": "json_kind", "SAFE_CONVERT_BYTES_TO_STRING": "bytes_text",
}

// macros are the functions that DuckDB has not.
var macros = []string{
	"octets(x) AS CASE WHEN typeof(x) = 'BLOB' THEN octet_length(TRY_CAST(x AS BLOB)) ELSE strlen(CAST(x AS VARCHAR)) END",
	"quotient(a, b) AS a // b",
	"fingerprint(x) AS CAST(CAST(hash(x) AS HUGEINT) - 9223372036854775808 AS BIGINT)",
	"json_text(x) AS CAST(to_json(x) AS VARCHAR)",
	// A lone half of a surrogate pair is read as U+FFFD, where DuckDB refuses the document.
	`mended(x) AS CASE WHEN contains(x, '\u') AND NOT json_valid(x) THEN ` +
		`replace(regexp_replace(regexp_replace(x, '(` + pair + `)|\\u[dD][89a-fA-F][0-9a-fA-F]{2}', '\1' || chr(1), 'g'), '(` + pair + `)' || chr(1), '\1', 'g'), chr(1), '\ufffd') ELSE x END`,
	"json_at(x, p) AS nullif(CAST(TRY(json_extract(mended(x), p)) AS VARCHAR), 'null')",
	"json_value_at(x, p) AS TRY(json_extract_string(x, p))",
	"safe_timestamp(x) AS make_timestamp(epoch_us(TRY_CAST(x AS TIMESTAMPTZ)))",
	"found_at(x, y) AS strpos(CAST(x AS VARCHAR), CAST(y AS VARCHAR))",
	"safe_json(x, wide_number_mode := 'exact') AS CASE WHEN json_valid(mended(x)) THEN x END",
	"code_points(l) AS array_to_string(list_transform(l, lambda c: chr(CAST(c AS INTEGER))), '')",
}

// pair matches an escaped backslash, or a whole surrogate pair.
const pair = `\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`

// statement is a statement in DuckDB's words, with what is known about it.
type statement struct {
	kind string // SELECT, CREATE_TABLE, …, SCRIPT
	sql  string
	ddl  *ddl    // for those the fake itself must know about
	dml  *change // for those that change rows
}

// ddl is what a statement makes.
type ddl struct {
	dataset, table string
	columns        []column
	partition      string
	description    string
	add            bool // columns to a table that exists
	set            bool // options of such a table
	options        map[string]string
}

// translate puts a statement into DuckDB's words.
func translate(sql string) (*statement, error) {
	all, err := lex(sql)
	if err != nil {
		return nil, err
	}
	for len(all) > 0 && all[len(all)-1].is(";") {
		all = all[:len(all)-1]
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("syntax error: Unexpected end of statement")
	}
	st := &statement{kind: kindOf(all)}
	for _, t := range all {
		if t.is(";") {
			st.kind = "SCRIPT"
		}
	}
	if st.kind == "CREATE_TABLE" || st.kind == "CREATE_SCHEMA" || st.kind == "ALTER_TABLE" {
		all = st.define(all)
	}
	if st.kind == "UPDATE" || st.kind == "DELETE" {
		st.dml = changed(all)
	}
	st.sql = write(all)
	return st, nil
}

func kindOf(all []token) string {
	i := 0
	for i < len(all)-1 && all[i].is("(") {
		i++
	}
	first := strings.ToUpper(all[i].text)
	switch first {
	case "SELECT", "WITH", "FROM":
		return "SELECT"
	case "CREATE", "DROP", "ALTER":
		for _, t := range all[i:] {
			for _, what := range []string{"TABLE", "VIEW", "SCHEMA", "FUNCTION", "PROCEDURE"} {
				if t.is(what) {
					return first + "_" + what
				}
			}
		}
	case "EXECUTE":
		return "SCRIPT"
	}
	return first
}

// define notes what a statement defines, and drops what DuckDB does not know.
func (st *statement) define(all []token) []token {
	d := &ddl{add: st.kind == "ALTER_TABLE", set: st.kind == "ALTER_TABLE" && slices.ContainsFunc(all, func(t token) bool { return t.is("SET") })}
	var path []string
	for i, t := range all {
		if t.kind == 'n' && (len(path) == 0 || all[i-1].is(".")) {
			path = append(path, t.text)
		} else if len(path) > 0 && !t.is(".") {
			break
		}
	}
	if len(path) == 3 {
		d.dataset, d.table = path[1], path[2]
		st.ddl = d
	}
	depth := 0
	for i := 0; i < len(all); i++ {
		switch t := all[i]; {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.is("PARTITION") && depth == 0, t.is("CLUSTER") && depth == 0, t.is("OPTIONS") && depth == 0:
			for j := i; j < len(all); j++ {
				if all[j].is("DATE") && j+2 < len(all) {
					d.partition = all[j+2].text
				}
				if all[j].is("description") && j+2 < len(all) {
					d.description = all[j+2].text
				}
				if j+2 < len(all) && all[j].is("partition_expiration_days") {
					d.options = map[string]string{all[j].text: all[j+2].text}
				}
			}
			return all[:i]
		case t.kind == 'n' && i+1 < len(all) && all[i+1].kind == 'w' && (d.add && all[i-1].is("EXISTS") || !d.add && depth == 1):
			d.columns = append(d.columns, column{t.text, strings.ToUpper(all[i+1].text)})
		}
	}
	return all
}

// write spells tokens as DuckDB reads them.
func write(all []token) string {
	var b strings.Builder
	for i := 0; i < len(all); i++ {
		t := all[i]
		next := func(n int) token {
			if i+n < len(all) {
				return all[i+n]
			}
			return token{}
		}
		switch t.kind {
		case 'n':
			fmt.Fprintf(&b, "\"%s\"", strings.ReplaceAll(t.text, `"`, `""`))
		case 's':
			fmt.Fprintf(&b, "'%s'", strings.ReplaceAll(t.text, "'", "''"))
		case 'w':
			upper := strings.ToUpper(t.text)
			call := next(1).is("(")
			switch {
			case upper == "SAFE" && next(1).is(".") && (next(2).is("TIMESTAMP") || next(2).is("PARSE_JSON")):
				b.WriteString(map[bool]string{true: "safe_timestamp ", false: "safe_json "}[next(2).is("TIMESTAMP")])
				i += 2
				continue
			case call && functions[upper] != "":
				if upper == "JSON_QUERY" {
					all = pointer(all, i+1)
				}
				b.WriteString(functions[upper])
			case call && upper == "EXCEPT" && i > 0 && all[i-1].is("*"):
				b.WriteString("EXCLUDE")
			case call && upper == "UNNEST" && i > 0 && (all[i-1].is("FROM") || all[i-1].is(",") || all[i-1].is("JOIN")):
				end, name := unnested(all, i+1)
				if rows, columns := structs(all, i+2, end-1); columns != "" && name != "" {
					b.WriteString("(VALUES " + rows + ") AS \"" + name + "\"(" + columns + ")")
					i = end
					if all[end].is("AS") {
						i++
					}
					break
				}
				if name == "" {
					b.WriteString("UNNEST")
					break
				}
				// In GoogleSQL the alias names the element, in DuckDB the table.
				b.WriteString("(SELECT UNNEST" + write(all[i+1:end]) + " AS \"" + name + "\") AS \"" + name + "_table\"")
				i = end
				if all[end].is("AS") {
					i++
				}
			case types[upper] != "" && !next(1).is("."):
				b.WriteString(types[upper])
			default:
				b.WriteString(t.text)
			}
		default:
			b.WriteString(t.text)
		}
		if !next(1).is(".") && !t.is(".") {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// pointer makes a JSON pointer of the path that a call of JSON_QUERY names.
func pointer(all []token, open int) []token {
	for i := open; i < len(all) && !all[i].is(")"); i++ {
		if all[i].kind != 's' {
			continue
		}
		var b strings.Builder
		for rest := strings.TrimPrefix(all[i].text, "$"); strings.HasPrefix(rest, `."`); {
			rest = rest[2:]
			b.WriteByte('/')
			for len(rest) > 0 && rest[0] != '"' {
				if rest[0] == '\\' && len(rest) > 1 {
					rest = rest[1:]
				}
				switch rest[0] {
				case '~':
					b.WriteString("~0")
				case '/':
					b.WriteString("~1")
				default:
					b.WriteByte(rest[0])
				}
				rest = rest[1:]
			}
			rest = strings.TrimPrefix(rest, `"`)
		}
		all = append([]token{}, all...)
		all[i].text = b.String()
	}
	return all
}

// structs returns the rows and the names of the columns of ARRAY<STRUCT<name type, …>>[(value, …), …]; no names if it is
// something else.
func structs(all []token, from, to int) (rows, columns string) {
	if to-from < 4 || !all[from].is("ARRAY") || !all[from+1].is("<") || !all[from+2].is("STRUCT") || !all[from+3].is("<") {
		return "", ""
	}
	var names []string
	i := from + 4
	for ; i+1 < to && !all[i].is("["); i++ {
		if all[i].kind == 'w' && all[i+1].kind == 'w' {
			names = append(names, "\""+all[i].text+"\"")
		}
	}
	return write(all[i+1 : to-1]), strings.Join(names, ", ")
}

// unnested returns where the argument of UNNEST ends, and its alias.
func unnested(all []token, open int) (end int, name string) {
	depth := 0
	for i := open; i < len(all); i++ {
		if all[i].is("(") {
			depth++
		}
		if all[i].is(")") {
			depth--
		}
		if depth > 0 {
			continue
		}
		end = i + 1
		if end < len(all) && all[end].is("AS") && end+1 < len(all) {
			return end, all[end+1].text
		}
		if end < len(all) && (all[end].kind == 'n' || all[end].kind == 'w' && !clause(all[end])) {
			return end, all[end].text
		}
		return end, ""
	}
	return len(all), ""
}

func clause(t token) bool {
	for _, word := range []string{"WHERE", "GROUP", "ORDER", "LIMIT", "JOIN", "LEFT", "CROSS", "ON", "UNION", "HAVING", "QUALIFY", "INNER", "FULL"} {
		if t.is(word) {
			return true
		}
	}
	return false
}
