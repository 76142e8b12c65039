package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sparrowhq/sparrow/warehouse"
)

// What the text report shows before it sums up.
const (
	textDiffering = 50 // event names that differ
	textEqual     = 20 // event names that do not
	textExamples  = 5  // per event name
	textExampled  = 10 // event names with examples
	nameWidth     = 48 // columns of a terminal
)

type painter bool

func (p painter) paint(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p painter) outcome(o Outcome) string {
	switch o {
	case Pass:
		return p.paint("1;32", string(o))
	case Fail:
		return p.paint("1;31", string(o))
	}
	return p.paint("1;33", string(o))
}

// writeText writes the report for a terminal: the verdict first and last, since one of them scrolls away.
func (r Report) writeText(w io.Writer, color bool) error {
	p := painter(color)
	var b strings.Builder
	headline := p.outcome(r.Verdict.Outcome) + "  " + r.Verdict.Summary + "\n"
	b.WriteString(headline + "\n")
	b.WriteString(r.about())
	if len(r.Evidence.Stages) > 0 {
		b.WriteString("\n" + r.stageTable(p))
	}
	b.WriteString("\n" + r.table(p))
	r.textExamples(&b)
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		b.WriteString("\n" + title + "\n")
		for _, line := range lines {
			b.WriteString("  " + line + "\n")
		}
	}
	var reasons []string
	for _, x := range r.Verdict.Reasons {
		reasons = append(reasons, fmt.Sprintf("%s: %s", p.paint("1", string(x.Code)), x.Text))
	}
	section("why", reasons)
	if r.Verdict.Outcome == Fail && len(r.Verdict.Reasons) > 0 {
		if look := r.lookAtOne(); look != "" {
			section("look at one", []string{look})
		}
	}
	section("what is missing", r.Verdict.Missing)
	if r.Verdict.Guarantee != "" {
		section("guarantee", []string{r.Verdict.Guarantee})
	}
	section("notes", r.Verdict.Notes)
	b.WriteString("\n" + headline)
	_, err := io.WriteString(w, b.String())
	return err
}

// lookAtOne is a command that shows both sides of an event that the first reason is about.
func (r Report) lookAtOne() string {
	first := r.Verdict.Reasons[0]
	if first.Stage != "" && first.Stage != warehouse.Raw && first.Event != nil {
		for _, e := range r.Evidence.Events {
			for _, x := range e.Examples {
				if e.Stage != first.Stage || e.Name != *first.Event || !slices.Contains(first.IDs, x.EventID) {
					continue
				}
				where := fmt.Sprintf("frame = %d AND request = %d AND item = %d", x.Frame, x.Request, x.Item)
				return fmt.Sprintf(`sparrow query "SELECT * FROM live.outcomes WHERE %s UNION ALL SELECT * FROM staging.outcomes WHERE %s"`, where, where)
			}
		}
	}
	ids := r.firstIDs(1)
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf(`sparrow query "SELECT * FROM live.raw WHERE eventId = '%s' UNION ALL SELECT * FROM staging.raw WHERE eventId = '%s'"`, ids[0], ids[0])
}

// firstIDs returns up to n eventIds of the reasons, in their order, that are plain enough for a command line.
func (r Report) firstIDs(n int) []string {
	var out []string
	for _, x := range r.Verdict.Reasons {
		for _, id := range x.IDs {
			plain := id != "" && strings.Trim(id, "0123456789abcdefABCDEF-") == ""
			if plain && len(out) < n {
				out = append(out, id)
			}
		}
	}
	return out
}

// about says what was compared.
func (r Report) about() string {
	ev := r.Evidence
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	if ev.Window.Empty() {
		line("window", "no frame: %s", ev.Window.Chosen)
	} else {
		line("window", "frames %s to %s: %s", grouped(ev.Window.First), grouped(ev.Window.Last), ev.Window.Chosen)
	}
	for _, s := range []struct {
		role string
		Side
	}{{"live", ev.Live}, {"candidate", ev.Candidate}} {
		state := ""
		if !s.Reachable {
			state = ", unreachable"
		}
		line(s.role, "%-5s %s, %s, %s%s", s.Stack, BuildName(s.Build), count(s.Rows, "row"), requests(s.Requests), state)
	}
	for _, x := range ev.Readings {
		if x.Digested > 0 || x.Refused != "" {
			line("read", "%s", x)
		}
	}
	if ev.Ledger.Complete {
		line("ledger", "%s accepted", requests(ev.Ledger.Requests))
	}
	line("journal", "%s, generation %d, history %.12s", Visible(ev.Journal), ev.Generation, ev.Head)
	return b.String()
}

// column is one column of the table of events.
type column struct {
	title  string
	of     func(Event) uint64
	always bool // shown even where it is 0 throughout
	fault  bool
}

var tableColumns = []column{
	{"live", func(e Event) uint64 { return e.Live }, true, false},
	{"staging", func(e Event) uint64 { return e.Candidate }, true, false},
	{"missing", func(e Event) uint64 { return e.Missing }, true, true},
	{"extra", func(e Event) uint64 { return e.Extra }, true, true},
	{"changed", func(e Event) uint64 { return e.Changed }, true, true},
	{"duplicated", func(e Event) uint64 { return e.DuplicatesLive + e.DuplicatesCandidate }, true, true},
	{"skipped", func(e Event) uint64 { return e.Skipped }, false, true},
	{"misrouted", func(e Event) uint64 { return e.Misrouted + e.MisroutedLive }, false, true},
	{"renamed to", func(e Event) uint64 { return e.RenamedTo }, false, true},
	{"dead", func(e Event) uint64 { return e.Dead + e.DeadLive }, false, true},
	{"undelivered", func(e Event) uint64 { return e.Undelivered + e.UndeliveredLive }, false, false},
	{"upstream", func(e Event) uint64 { return e.Upstream + e.UpstreamLive }, false, false},
	{"pending", func(e Event) uint64 { return e.Pending + e.PendingLive }, false, false},
}

// tabled is the table of events in a form that every rendering shows its own way.
type tabled struct {
	columns []column
	rows    []Event // those shown
	rest    Event   // the others summed up
	left    int     // how many those are
	differ  int     // how many of those differ
	total   Event
	staged  bool // rows are of several stages, so that a total says nothing
}

// tabulate shows at most differing names that differ, of any stage, and after them equal names that do not, of raw.
func (r Report) tabulate(differing, equal int) tabled {
	var t tabled
	add := func(to *Event, e Event) {
		to.Live += e.Live
		to.Candidate += e.Candidate
		to.Faults.add(e.Faults)
	}
	t.staged = len(r.Evidence.Stages) > 0
	var same []Event
	for _, e := range r.Evidence.Events {
		add(&t.total, e)
		switch {
		case e.Differ() && differing > 0:
			differing--
			t.rows = append(t.rows, e)
			continue
		case !e.Differ() && e.Stage == warehouse.Raw && equal > 0:
			equal--
			same = append(same, e)
			continue
		}
		add(&t.rest, e)
		t.left++
		if e.Differ() {
			t.differ++
		}
	}
	t.rows = append(t.rows, same...)
	for _, f := range r.Evidence.Folded {
		e := Event{Live: f.Live, Candidate: f.Candidate, Faults: f.Faults}
		add(&t.total, e)
		add(&t.rest, e)
		t.left += f.Names
		if f.Faults.Differ() {
			t.differ += f.Names // at least one of them
		}
	}
	for _, c := range tableColumns {
		if c.always || c.of(t.total) > 0 {
			t.columns = append(t.columns, c)
		}
	}
	return t
}

// more names what the table leaves out.
func (t tabled) more() string {
	what := "more name"
	if t.staged {
		what = "more line"
	}
	switch {
	case t.differ == 0:
		return count(uint64(t.left), what) + ", none differs"
	case t.differ == t.left:
		return count(uint64(t.left), what)
	}
	return fmt.Sprintf("%s, %s of them differ", count(uint64(t.left), what), grouped(uint64(t.differ)))
}

func (r Report) table(p painter) string {
	if len(r.Evidence.Events) == 0 {
		return "no events\n"
	}
	t := r.tabulate(textDiffering, textEqual)
	out, labels := newTable("event"), 1
	if t.staged {
		out, labels = newTable("event", "stage"), 2
	}
	for _, c := range t.columns {
		out.number(c.title)
	}
	line := func(name string, e Event) []string {
		row := []string{name, shownName(string(e.Stage))}[:labels]
		for _, c := range t.columns {
			row = append(row, p.cell(c, e))
		}
		return row
	}
	for _, e := range t.rows {
		out.line(line(tableName(e.Name), e))
	}
	if t.left > 0 {
		rest := line("("+t.more()+")", t.rest)
		if t.staged {
			rest[1] = ""
		}
		out.line(rest)
	}
	if len(t.rows)+t.left > 1 && !t.staged {
		out.footer(line("total", t.total))
	}
	return out.render()
}

// tableName is an event name cut to the table's width; wide characters count twice.
func tableName(name string) string {
	return text.Snip(shownName(name), nameWidth, "…")
}

func (r Report) textExamples(b *strings.Builder) {
	shown, title := 0, "\nexamples\n"
	show := func(name string, examples []Example) {
		if len(examples) == 0 || shown == textExampled {
			return
		}
		b.WriteString(title)
		title = ""
		shown++
		fmt.Fprintf(b, "  %s\n", name)
		for _, x := range examples[:min(textExamples, len(examples))] {
			fmt.Fprintf(b, "    %-10s %s at %s%s\n", x.Kind, or(Visible(x.EventID), "(id unknown)"), x.Position, r.remark(x))
		}
		if more := len(examples) - textExamples; more > 0 {
			fmt.Fprintf(b, "    and %d more in the JSON report\n", more)
		}
	}
	show("in neither dataset", r.Evidence.Lost.Examples)
	for _, e := range r.Evidence.Events {
		name := tableName(e.Name)
		if e.Stage != warehouse.Raw {
			name += " at " + shownName(string(e.Stage))
		}
		show(name, e.Examples)
	}
}

// remark says what an example shows beyond its kind.
func (r Report) remark(x Example) string {
	var parts []string
	if x.At != 0 {
		parts = append(parts, "received "+instant(x.At))
	}
	switch x.Kind {
	case Doubled, Dead, Undelivered, Pending, Misrouted:
		parts = append(parts, x.describes())
	}
	if x.RenamedTo != "" {
		parts = append(parts, "now named "+quoteName(x.RenamedTo))
	}
	if len(x.Columns) > 0 {
		parts = append(parts, "differs in "+strings.Join(x.Columns, ", "))
	}
	if len(x.Paths) > 0 {
		at := strings.Join(x.Paths, ", ")
		if x.MorePaths > 0 {
			at += fmt.Sprintf(" and %d more", x.MorePaths)
		}
		parts = append(parts, "at "+at)
	}
	if len(parts) == 0 {
		return ""
	}
	return ", " + strings.Join(parts, ", ")
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
