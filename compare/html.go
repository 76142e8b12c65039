package compare

import (
	_ "embed"
	"html/template"
	"io"
	"strings"

	"github.com/sparrowhq/sparrow/warehouse"
)

//go:embed report.html
var reportHTML string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"grouped": grouped, "visible": Visible, "name": shownName, "stage": func(s warehouse.Stage) string { return shownName(string(s)) }, "instant": instant,
	"build": BuildName, "lower": func(o Outcome) string { return strings.ToLower(string(o)) },
	"of":       func(c column, e Event) uint64 { return c.of(e) },
	"bad":      func(c column, e Event) bool { return c.fault && c.of(e) > 0 },
	"title":    func(c column) string { return c.title },
	"requests": requests, "rows": func(n uint64) string { return count(n, "row") },
}).Parse(reportHTML))

// htmlEvents bounds the rows of the HTML table.
const htmlEvents = 2000

// writeHTML writes one file that needs nothing else: no script, no font, no picture from anywhere.
func (r Report) writeHTML(w io.Writer) error {
	t := r.tabulate(htmlEvents, htmlEvents)
	var exampled []Event
	for _, e := range t.rows {
		if len(e.Examples) > 0 {
			exampled = append(exampled, e)
		}
	}
	lines, stageColumns := r.stageLines()
	return reportTemplate.Execute(w, struct {
		Report
		V        Verdict
		Columns  []column
		Rows     []Event
		Exampled []Event
		Rest     Event
		Left     int
		More     string
		Total    Event
		Remark   func(Example) string
		Staged   bool
		Stages   []stageLine
		// StageColumns are those of the table of stages.
		StageColumns []column
	}{r, r.Verdict, t.columns, t.rows, exampled, t.rest, t.left, t.more(), t.total, func(x Example) string { return strings.TrimPrefix(r.remark(x), ", ") }, t.staged, lines, stageColumns})
}
