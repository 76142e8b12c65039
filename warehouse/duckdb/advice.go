package duckdb

import "strings"

// What to do instead of what a query may not.
const (
	adviceTables  = "a query reads the warehouse's own tables, see SHOW ALL TABLES"
	adviceOut     = "rows get out as an answer: use --format csv or json, or sparrow warehouse export"
	adviceAttach  = "the warehouse opens nothing else: to join with other data use sparrow warehouse export and a DuckDB of your own"
	adviceSetting = "what may be set is in the section warehouse of the settings, and takes a restart"
	adviceWrite   = "the warehouse is what the stacks stored: only appends change it"
	adviceOne     = "send one SELECT, without BEGIN or PREPARE: each is a snapshot of its own"
	adviceSingle  = "ask them one at a time"
	adviceMore    = "filter by frame or timestamp, or aggregate"
	adviceElse    = "use sparrow warehouse export and a DuckDB of your own"
	advicePlaces  = "wait for them to end, or raise warehouse.queries.concurrent"
)

// advice says what to do instead of a statement, by its first words.
var advice = []struct {
	begins string
	advice string
}{
	{"COPY", adviceOut}, {"EXPORT", adviceOut}, {"IMPORT", adviceOut},
	{"ATTACH", adviceAttach}, {"DETACH", adviceAttach}, {"USE", adviceAttach}, {"INSTALL", adviceAttach}, {"LOAD", adviceAttach},
	{"FORCE INSTALL", adviceAttach}, {"UPDATE EXTENSIONS", adviceAttach}, {"CREATE SECRET", adviceAttach}, {"CREATE PERSISTENT SECRET", adviceAttach}, {"DROP SECRET", adviceAttach},
	{"SET", adviceSetting}, {"RESET", adviceSetting}, {"PRAGMA", adviceSetting}, {"CALL", adviceSetting}, {"CHECKPOINT", adviceSetting}, {"FORCE", adviceSetting}, {"VACUUM", adviceSetting}, {"ANALYZE", adviceSetting},
	{"BEGIN", adviceOne}, {"START", adviceOne}, {"COMMIT", adviceOne}, {"END", adviceOne}, {"ROLLBACK", adviceOne}, {"ABORT", adviceOne},
	{"PREPARE", adviceOne}, {"EXECUTE", adviceOne}, {"DEALLOCATE", adviceOne}, {"EXPLAIN", adviceOne},
	{"", adviceWrite},
}

// insteadOf returns the advice for a statement without comments in front.
func insteadOf(sql string) string {
	words := strings.ToUpper(strings.Join(strings.FieldsFunc(sql, func(r rune) bool { return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') }), " ")) + " "
	for _, a := range advice {
		if a.begins == "" || strings.HasPrefix(words, a.begins+" ") {
			return a.advice
		}
	}
	return adviceWrite
}
