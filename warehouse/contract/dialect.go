package contract

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse"
)

// test is one of the suite's.
type test struct {
	name string
	test func(t *testing.T, w warehouse.Warehouse)
}

// Dialect is what the suite has to say differently, depending on the engine's SQL. The suite's own words are DuckDB's.
type Dialect struct {
	rewrite  func(sql string) string // nil: as it is
	own      []test                  // about reading itself, and about what not every engine can
	share    int                     // of the rows of large tests is enough, one in so many; 0: all of them
	parallel bool                    // every warehouse of the suite is on its own, and several may be open at once
	lastTime int64                   // the last instant that a timestamp can hold; 0: any
}

// DuckDB is the suite's own dialect.
var DuckDB = Dialect{own: []test{
	{"DigestsAreOfWhatIsStored", digests},
	{"ErasedPersonLeavesTombstones", erasure},
	{"TypesOfValues", typesOfValues},
	{"ParametersKeepTheirTypes", parameters},
	{"LimitCutsAndSaysSo", limit},
	{"OneStatementThatReads", oneStatement},
	{"NothingOutsideTheDatabase", nothingOutside},
	{"FaultsAreNamed", faults},
	{"DeadlineStopsAQuery", deadline},
	{"CancellationStopsAQuery", cancellation},
	{"AnswerIsASnapshot", snapshot},
	{"CloseOfRowsIsEnough", closeRows},
	{"ManyQueriesAtOnce", manyQueries},
}}

// inQuotes is a name in quotes, as the suite writes it. It writes no text in double quotes.
var inQuotes = regexp.MustCompile(`"([A-Za-z_][A-Za-z0-9_]*)"`)

// googleTypeNames are those that the suite casts to.
var googleTypeNames = strings.NewReplacer("AS VARCHAR)", "AS STRING)", "AS BIGINT)", "AS INT64)")

// GoogleSQL is the dialect of BigQuery.
var GoogleSQL = Dialect{
	rewrite: func(sql string) string {
		return googleTypeNames.Replace(inQuotes.ReplaceAllString(sql, "`$1`"))
	},
	share:    share(), // a row is read by HTTP and JSON
	lastTime: 253402300799_999999,
	parallel: true,
	own: []test{
		{"DigestsAreOfWhatIsStored", digests},
		{"ErasedPersonLeavesTombstones", erasure},
		{"TypesOfValues", googleTypes},
		{"ParametersKeepTheirTypes", googleParameters},
		{"LimitCutsAndSaysSo", googleLimit},
		{"OneStatementThatReads", googleOneStatement},
		{"FaultsAreNamed", googleFaults},
		{"DeadlineStopsAQuery", googleDeadline},
		{"CancellationStopsAQuery", googleCancellation},
		{"AnswerIsASnapshot", snapshot},
		{"CloseOfRowsIsEnough", googleClose},
		{"ManyQueriesAtOnce", manyQueries},
	},
}

// share is the part of large tests' rows that engines need behind which every row is JSON.
func share() int {
	if os.Getenv("SPARROW_SOAK") != "" {
		return 4
	}
	return 20
}

// speaking is a warehouse that is asked in its own dialect.
type speaking struct {
	warehouse.Warehouse
	dialect Dialect
}

func (d Dialect) speak(w warehouse.Warehouse) warehouse.Warehouse {
	if d.rewrite == nil && d.share == 0 {
		return w // so that it can be asked what more it is
	}
	return speaking{w, d}
}

// engine is the warehouse itself, which may be more than one.
func engine(w warehouse.Warehouse) warehouse.Warehouse {
	if s, ok := w.(speaking); ok {
		return s.Warehouse
	}
	return w
}

func (s speaking) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	if s.dialect.rewrite != nil {
		q.SQL = s.dialect.rewrite(q.SQL)
	}
	return s.Warehouse.Query(ctx, q)
}

// many is how many of n rows the engine's tests need.
func many(w warehouse.Warehouse, n int) int {
	if s, ok := w.(speaking); ok && s.dialect.share > 0 {
		return n / s.dialect.share
	}
	return n
}

// holds reports whether the engine can hold a timestamp.
func holds(w warehouse.Warehouse, micros int64) bool {
	s, ok := w.(speaking)
	return !ok || s.dialect.lastTime == 0 || micros <= s.dialect.lastTime
}
