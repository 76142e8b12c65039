package compare

import (
	"fmt"
	"io"
	"strings"
)

// maxMarkdown bounds the Markdown report: CI systems drop a step summary of more than 1 MiB as a whole.
const maxMarkdown = 1 << 20

// writeMarkdown writes the report for a CI step summary. Rows that do not fit are counted.
func (r Report) writeMarkdown(w io.Writer) error {
	v := r.Verdict
	mark := map[Outcome]string{Pass: "✅", Fail: "❌"}[v.Outcome]
	var head, tail strings.Builder
	fmt.Fprintf(&head, "## %s Sparrow compare: %s\n\n%s\n\n", or(mark, "⚠️"), v.Outcome, mdText(v.Summary))
	fmt.Fprintf(&head, "```text\n%s```\n\n", r.about())
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(&tail, "\n### %s\n\n", title)
		for _, line := range lines {
			fmt.Fprintf(&tail, "- %s\n", line)
		}
	}
	var why []string
	for _, x := range v.Reasons {
		why = append(why, fmt.Sprintf("**%s**: %s", x.Code, mdText(x.Text)))
	}
	section("Why", why)
	section("What is missing", mdTexts(v.Missing))
	if v.Guarantee != "" {
		section("Guarantee", []string{mdText(v.Guarantee)})
	}
	section("Notes", mdTexts(v.Notes))

	t := r.tabulate(len(r.Evidence.Events), textEqual)
	var body strings.Builder
	if t.staged {
		body.WriteString(r.markdownStages())
	}
	stage := func(e Event) string {
		if !t.staged {
			return ""
		}
		return fmt.Sprintf(" %s |", mdCode(shownName(string(e.Stage))))
	}
	if len(t.rows)+t.left > 0 {
		body.WriteString("| event |")
		if t.staged {
			body.WriteString(" stage |")
		}
		for _, c := range t.columns {
			fmt.Fprintf(&body, " %s |", c.title)
		}
		body.WriteString("\n|:--|")
		if t.staged {
			body.WriteString(":--|")
		}
		body.WriteString(strings.Repeat("--:|", len(t.columns)) + "\n")
	}
	line := func(name, stage string, e Event) string {
		return "| " + name + " |" + stage + mdNumbers(t.columns, e) + "\n"
	}
	const reserve = 4 << 10 // for the lines that sum up
	tailText := clip(tail.String(), maxMarkdown/2)
	room := maxMarkdown - head.Len() - len(tailText) - reserve
	left := 0
	for _, e := range t.rows {
		row := line(mdCode(shownName(e.Name)), stage(e), e)
		if body.Len()+len(row) > room {
			left++
			t.rest.Live += e.Live
			t.rest.Candidate += e.Candidate
			t.rest.Faults.add(e.Faults)
			if e.Differ() {
				t.differ++
			}
			continue
		}
		body.WriteString(row)
	}
	t.left += left
	if t.left > 0 {
		none := ""
		if t.staged {
			none = " |"
		}
		body.WriteString(line("("+t.more()+")", none, t.rest))
	}
	if len(t.rows)+t.left > 1 && !t.staged {
		body.WriteString(line("**total**", "", t.total))
	}
	_, err := io.WriteString(w, head.String()+body.String()+tailText)
	return err
}

func mdNumbers(columns []column, e Event) string {
	var b strings.Builder
	for _, c := range columns {
		n := grouped(c.of(e))
		if c.fault && n != "0" {
			n = "**" + n + "**"
		}
		fmt.Fprintf(&b, " %s |", n)
	}
	return b.String()
}

// markdownStages is the table of stages.
func (r Report) markdownStages() string {
	lines, columns := r.stageLines()
	var b strings.Builder
	b.WriteString("| stage |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.title)
	}
	b.WriteString(" retries | state |\n|:--|" + strings.Repeat("--:|", len(columns)+1) + ":--|\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "| %s |%s %s | %s |\n", mdCode(shownName(string(l.Stage))), mdNumbers(columns, l.Event), grouped(l.Retries), mdText(l.State))
	}
	return b.String() + "\n"
}

// clip cuts a list of lines to n bytes and says how many lines are left out.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := strings.LastIndexByte(s[:n], '\n') + 1
	return fmt.Sprintf("%s- and %d more lines\n", s[:end], strings.Count(s[end:], "\n"))
}

var mdEscapes = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "|", `\|`, "#", `\#`, "~", `\~`, "$", `\$`, "&", "&amp;", "@", "@\u200b", "://", ":\u200b//")

// mdText escapes text so that names which clients chose neither format nor link nor mention anybody.
func mdText(s string) string { return mdEscapes.Replace(s) }

func mdTexts(lines []string) []string {
	out := make([]string, len(lines))
	for i, s := range lines {
		out[i] = mdText(s)
	}
	return out
}

// mdCode puts text into a code span of a table cell, fenced by more backticks than it holds.
func mdCode(s string) string {
	longest, run := 0, 0
	for _, c := range s {
		if c == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	fence := strings.Repeat("`", longest+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}
