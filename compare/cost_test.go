package compare

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery"
)

// The figures that the schema and the statements do not tell. Everything else in docs/bigquery-cost.md follows from those.
const (
	eventsADay    = 100e6
	rowsAFrame    = 100 // docs/benchmarks.md: 71 requests a frame at 256 connections, more at more
	namesABucket  = 378 // every name of SPARROW_TEST_DATA, in every bucket
	daysKept      = 30
	marksADay     = 86_400 // for each stage: an append a second
	dollarsPerTiB = 6.25   // on demand; the first TiB a month is free
	dollarsStored = 0.02   // GiB and month, logical, active
	dollarsTaken  = 0.025  // GiB through the Storage Write API, beyond 2 TiB a month
	least         = 10 << 20
)

// averages are the mean lengths in bytes of texts that are not NULL. data and event: mean of the 112,768 events of
// SPARROW_TEST_DATA, which TestCostAverages measures again where that is set. context: that of a browser's request with
// origin, write key, user agent, language, address and country. The others have the length that this project gives them.
var averages = map[string]float64{
	"data": 299, "event": 10.7, "context": 195, "eventId": 36, "build": 64, "stage": 5.25, "sink": 6.4, "outcome": 8.75, "reason": 0,
	"cursorStage": 5, "cursorJournal": 36,
}

// lengthless are columns that are NULL in nearly every row of an event.
var lengthless = regexp.MustCompile(`^(cursor.*|micros|number|dataBytes|sent|answer)$`)

// table is one of BigQuery's, with the bytes of each column of a row.
type billedTable map[string]float64

var columnForm = regexp.MustCompile("(?m)^  `(\\w+)` (\\w+)")

// billedTables reads the schema from the statements that make it.
func billedTables(t *testing.T) map[string]billedTable {
	all, err := bigquery.Statements(bigquery.Options{Project: "project"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]billedTable{"marks": {}}
	for _, sql := range all {
		name, ok := strings.CutPrefix(sql, "CREATE TABLE IF NOT EXISTS `project`.`green`.`")
		if !ok {
			continue
		}
		name = name[:strings.IndexByte(name, '`')]
		columns := billedTable{}
		for _, m := range columnForm.FindAllStringSubmatch(sql, -1) {
			width := 8.0
			if m[2] == "BIGNUMERIC" {
				width = 32
			}
			if m[2] == "STRING" || m[2] == "BYTES" {
				width = 2 + averages[m[1]]
			}
			if mark := strings.HasPrefix(m[1], "cursor"); mark || slices.Contains([]string{"frame", "request", "item", "run"}, m[1]) {
				out["marks"][m[1]] = width
			}
			if lengthless.MatchString(m[1]) {
				width = 0
			}
			columns[m[1]] = width
		}
		out[name] = columns
	}
	return out
}

// bill is what statements of one form are billed for.
type bill struct {
	reads string
	times int
	bytes float64
}

var (
	reference = regexp.MustCompile(`\b(?:FROM|JOIN) (?:shop_)?(?:(green|blue)\.)?(raw_log|raw|outcomes_log|outcomes|corrections_log|digests|cursors|spans)\b`)
	between   = regexp.MustCompile(`\bframe BETWEEN (\d+) AND (\d+)`)
	after     = regexp.MustCompile(`>= TIMESTAMP_MICROS\((\d+)\)`)
	word      = regexp.MustCompile(`\b[A-Za-z]\w*`)
	literal   = regexp.MustCompile(`'(?:[^'\\]|\\.)*'`)
	ofStages  = regexp.MustCompile(`stage IN \(([^)]*)\)`)
)

// price works out what a statement is billed for: the columns that it names of each table that it names, a table that
// stands there twice counted twice, over the frames that it names. stages are those of outcomes.
func price(all map[string]billedTable, w Window, stages float64, sql string) bill {
	sql = bare(sql)
	named := map[string]bool{}
	for _, n := range word.FindAllString(literal.ReplaceAllString(sql, "''"), -1) {
		named[n] = true
	}
	bytes, reads := map[string]float64{}, map[string]bool{}
	refs := reference.FindAllStringSubmatchIndex(sql, -1)
	for i, m := range refs {
		end := len(sql)
		if i+1 < len(refs) {
			end = refs[i+1][0]
		}
		part, stack, name := sql[m[0]:end], "", sql[m[4]:m[5]]
		if m[2] >= 0 {
			stack = sql[m[2]:m[3]]
		}
		days := 1.0
		switch f := between.FindStringSubmatch(part); {
		case f != nil && strings.Contains(sql, "INSERT INTO"), f != nil && strings.Contains(sql, "DIV(frame, 1024) AS bucket, COUNT(*)"):
		case f != nil:
			first, _ := strconv.ParseFloat(f[1], 64)
			last, _ := strconv.ParseFloat(f[2], 64)
			days = min(1, (last-first+1)/float64(w.Last-w.First+1))
		case strings.Contains(part, "AND frame < "):
			micros, _ := strconv.ParseFloat(after.FindStringSubmatch(part)[1], 64)
			days = math.Ceil((float64(began) - micros) / 24 / 3600e6)
		case strings.Contains(part, "AND frame > "):
			days = 0
		}
		if name == "raw" {
			name = "raw_log"
		}
		marks := strings.Contains(sql, "cursorStage")
		if name == "cursors" || name == "spans" || marks {
			logs := map[string]float64{"raw_log": 1, "outcomes_log": stages}
			if name == "cursors" {
				logs["corrections_log"] = 0
			}
			width := 0.0
			for _, b := range all["marks"] {
				width += b
			}
			for _, s := range []string{"green", "blue"} {
				for l, n := range logs {
					if !marks || l == name && s == stack {
						bytes[s+l] += width * n * marksADay * daysKept
					}
				}
			}
			reads["marks of "+strings.Replace(name, "spans", "raw and outcomes", 1)+", every column"] = true
			continue
		}
		rows := map[string]float64{"raw_log": eventsADay, "outcomes_log": stages * eventsADay, "corrections_log": 0, "outcomes": stages * eventsADay}[name]
		if name == "digests" {
			n := stages + 1
			if l := ofStages.FindStringSubmatch(part); l != nil {
				n = float64(strings.Count(l[1], ",") + 1)
			}
			rows = n * digestLines()
			if strings.Contains(part, "lastAt >= ") {
				days = unexercisedFor.Hours() / 24
			}
		}
		columns, width := []string(nil), 0.0
		for c, b := range all[name] {
			if named[c] && !lengthless.MatchString(c) || c == "timestamp" && name == "raw_log" {
				columns, width = append(columns, c), width+b
			}
		}
		slices.Sort(columns)
		bytes[stack+name] += rows * days * width
		reads[name+": "+strings.Join(columns, ", ")] = true
	}
	b := bill{times: 1}
	for _, n := range bytes {
		b.bytes += max(n, least)
	}
	b.bytes = max(b.bytes, least)
	var list []string
	for r := range reads {
		list = append(list, r)
	}
	slices.Sort(list)
	b.reads = strings.Join(list, "; ")
	return b
}

// bare is a statement without quotes around names, and without the project.
func bare(sql string) string {
	return strings.ReplaceAll(strings.ReplaceAll(sql, "`", ""), "my-project.", "")
}

// digestLines is how many lines of digests a stage of a side has a day.
func digestLines() float64 {
	return math.Ceil(eventsADay/rowsAFrame/warehouse.DigestFrames) * (namesABucket + 1)
}
