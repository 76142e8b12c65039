package compare

import (
	"fmt"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// textTable is a table on a terminal: labels to the left, numbers to the right.
type textTable struct {
	out     table.Writer
	header  table.Row
	columns []table.ColumnConfig
}

func newTable(labels ...string) *textTable {
	t := &textTable{out: table.NewWriter()}
	style := table.StyleLight
	style.Format.Header, style.Format.Footer = text.FormatDefault, text.FormatDefault
	style.Options.DrawBorder, style.Options.SeparateColumns = false, false
	t.out.SetStyle(style)
	t.out.SuppressTrailingSpaces()
	for _, l := range labels {
		t.add(l, text.AlignLeft)
	}
	return t
}

func (t *textTable) add(title string, align text.Align) {
	t.header = append(t.header, title)
	t.columns = append(t.columns, table.ColumnConfig{Number: len(t.header), Align: align, AlignHeader: align, AlignFooter: align})
}

func (t *textTable) number(title string) { t.add(title, text.AlignRight) }

func cells(line []string) table.Row {
	row := make(table.Row, len(line))
	for i, s := range line {
		row[i] = s
	}
	return row
}

func (t *textTable) line(line []string)   { t.out.AppendRow(cells(line)) }
func (t *textTable) footer(line []string) { t.out.AppendFooter(cells(line)) }

func (t *textTable) render() string {
	t.out.SetColumnConfigs(t.columns)
	t.out.AppendHeader(t.header)
	return t.out.Render() + "\n"
}

// cell is a number of a column, as it is painted.
func (p painter) cell(c column, e Event) string {
	n := c.of(e)
	switch cell := grouped(n); {
	case c.fault && n > 0:
		return p.paint("31", cell)
	case c.fault:
		return p.paint("2", cell)
	default:
		return cell
	}
}

// stageLine is one line of the table of stages.
type stageLine struct {
	Event          // the stage's names added up
	State   string // how far it is, and whether it decides
	Decides bool
	Closed  bool
	Retries uint64
}

// stageLines sums up each stage, raw first, and returns the columns that are worth showing.
func (r Report) stageLines() ([]stageLine, []column) {
	ev := r.Evidence
	needed := r.Verdict.Policy.Needed(ev)
	m := &muster{ev: ev}
	var lines []stageLine
	var total Event
	for _, stage := range ev.names() {
		l := stageLine{Event: m.sum(stage), Decides: slices.Contains(needed, stage), Closed: true, State: "closed"}
		l.Stage = stage
		if s := ev.stage(stage); s != nil {
			l.Retries = s.Live.Retries + s.Candidate.Retries
			if !s.Live.Found || !s.Candidate.Found {
				l.Closed, l.State = false, "not on "+string(ev.Live.Stack)
				if s.Live.Found {
					l.State = "not on " + string(ev.Candidate.Stack)
				}
			}
		}
		for _, side := range []Side{ev.Live, ev.Candidate} {
			if at := side.Stored[stage].Last(); l.Closed && at < ev.Window.Last {
				l.Closed, l.State = false, fmt.Sprintf("%s is %s behind", side.Stack, count(ev.Window.Last-at, "frame"))
			}
		}
		if !l.Decides {
			l.State += ", decides nothing"
		}
		lines = append(lines, l)
		total.Faults.add(l.Faults)
	}
	var columns []column
	for _, c := range tableColumns {
		if c.always || c.of(total) > 0 {
			columns = append(columns, c)
		}
	}
	return lines, columns
}

func (r Report) stageTable(p painter) string {
	lines, columns := r.stageLines()
	out := newTable("stage")
	for _, c := range columns {
		out.number(c.title)
	}
	out.number("retries")
	out.add("state", text.AlignLeft)
	for _, l := range lines {
		row := []string{shownName(string(l.Stage))}
		for _, c := range columns {
			row = append(row, p.cell(c, l.Event))
		}
		state := l.State
		if !l.Closed {
			state = p.paint("33", state)
		}
		out.line(append(row, grouped(l.Retries), state))
	}
	return out.render()
}
