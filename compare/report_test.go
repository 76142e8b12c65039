package compare

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// messy is a report with every kind of fault and names that break naive renderings.
func messy(t testing.TB) Report {
	t.Helper()
	w := newWorld(t)
	w.many(60, "view", "購入ボタン", "a|b`c`", "<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "", "[x](http://evil.example) @all")
	w.accept([]item{{"list", `{"a":1}`}, {"list", `{"a":2}`}, {"list", `{"a":3}`}})
	w.drop(event.Blue, func(i int, r warehouse.Row) bool { return i == 3 || i == 17 })
	w.double(event.Blue, func(i int, r warehouse.Row) bool { return i == 8 })
	w.drop(event.Green, func(i int, r warehouse.Row) bool { return i == 21 })
	w.alter(event.Blue, func(i int, r *warehouse.Row) bool {
		switch i {
		case 30:
			r.Data = bytes.Replace(r.Data, []byte(`"n":31`), []byte(`"n":"31"`), 1)
		case 33:
			r.Event = "renamed"
		case 36:
			r.Data = []byte("\xff" + string(r.Data))
		}
		return true
	})
	for _, s := range event.Stacks() {
		w.drop(s, func(_ int, r warehouse.Row) bool { return r.Event == "list" && r.Item == 1 })
	}
	ev := w.collect(w.store(), Options{})
	ev.At = began
	return NewReport(ev, Policy{})
}

// staged is a report with something at every stage: changed fields, a wrong sink, a loss that later stages follow, retries,
// a tracker that is late, and one that decides nothing.
func staged(t testing.TB) Report {
	t.Helper()
	w := newWorld(t)
	w.many(400, "view", "購入ボタン", "a|b`c`", "click")
	w.pass("amplitude", "ga4", "heap", "webhook_\x1b[31mred")
	w.touch(event.Blue, "ga4", func(i int, o *warehouse.Outcome) {
		o.Attempts = uint32(1 + i%2)
		if i%40 == 1 {
			rewrite(o, fmt.Sprintf(`{"name":%q,"to":"ga4"}`, o.Event))
		}
	})
	w.touch(event.Blue, "amplitude", func(i int, o *warehouse.Outcome) {
		switch {
		case i == 7:
			o.Sink = "production"
		case i == 9:
			o.Reason = sentAgain
		}
	})
	at := w.outs[stageAt{event.Blue, warehouse.Trace}][25].Position
	for _, stage := range []warehouse.Stage{"trace", "amplitude", "ga4", "heap"} {
		w.lose(event.Blue, stage, func(_ int, o warehouse.Outcome) bool { return o.Position == at })
	}
	w.through[stageAt{event.Blue, "heap"}] = event.Cursor{Frame: 30}
	delete(w.outs, stageAt{event.Green, "webhook_\x1b[31mred"})
	ev := w.collect(w.store(), Options{})
	ev.At = began
	return NewReport(ev, Policy{})
}

// TestStagedReports shows stages in every rendering, lined up where there are columns.
func TestStagedReports(t *testing.T) {
	r := staged(t)
	got := render(t, r, FormatText)
	golden(t, "report-stages.txt", got)
	// Within a table every line is as wide as its header, but for the states at the end of it, which are texts.
	width, tables := 0, 0
	for _, l := range strings.Split(got, "\n") {
		switch {
		case strings.Contains(l, "duplicated") && strings.Contains(l, "staging"):
			width = text.StringWidth(strings.TrimSuffix(l, "state"))
			tables++
		case l == "":
			width = 0
		case width > 0 && regexp.MustCompile(`^ .* (raw|trace|ga4|amplitude) +[0-9,]+ .*[0-9]$`).MatchString(l) && text.StringWidth(l) != width:
			t.Errorf("%q is %d columns wide, its header %d", l, text.StringWidth(l), width)
		}
	}
	if tables != 2 {
		t.Errorf("%d tables, want stages and events", tables)
	}
	golden(t, "report-stages.md", render(t, r, FormatMarkdown))

	var back junitSuites
	if err := xml.Unmarshal([]byte(render(t, r, FormatJUnit)), &back); err != nil {
		t.Fatal(err)
	}
	classes := map[string]int{}
	for _, c := range back.Suites[0].Cases {
		classes[c.Class]++
		if c.Class == "sparrow.compare.ga4" && c.Name == "stage" && (c.Failure == nil || !strings.Contains(c.Failure.Message, "changed")) {
			t.Errorf("ga4: %+v", c)
		}
		if c.Class == "sparrow.compare.heap" && strings.HasPrefix(c.Name, "stage") && (c.Skipped == nil || !strings.Contains(c.Skipped.Message, "behind")) {
			t.Errorf("heap: %+v", c)
		}
		if strings.Contains(c.Class, "webhook") && c.Failure != nil {
			t.Errorf("a stage that decides nothing fails: %+v", c)
		}
		if strings.ContainsAny(c.Class, "\x1b") {
			t.Errorf("class %q", c.Class)
		}
	}
	if len(classes) != 7 {
		t.Errorf("classes %v, want the verdict and one for each of raw, trace and four trackers", classes)
	}
	for _, f := range []Format{FormatHTML, FormatText, FormatMarkdown} {
		got := render(t, r, f)
		if strings.Contains(got, "\x1b") {
			t.Errorf("%s: a stage's name reaches the terminal", f)
		}
		for _, want := range []string{"amplitude", "sent.properties", "decides nothing", "behind"} {
			if f == FormatMarkdown && want == "sent.properties" {
				want = "sent.properties (live only)"
			}
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q", f, want)
			}
		}
	}
	if dir := os.Getenv("SPARROW_REPORT_DIR"); dir != "" { // to look at
		if err := os.WriteFile(filepath.Join(dir, "report.html"), []byte(render(t, r, FormatHTML)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func render(t *testing.T, r Report, f Format) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b, f, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextReport(t *testing.T) {
	r := messy(t)
	got := render(t, r, FormatText)
	golden(t, "report.txt", got)
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if !strings.HasPrefix(lines[0], "FAIL") || lines[0] != lines[len(lines)-1] {
		t.Errorf("the verdict must be the first and the last line: %q, %q", lines[0], lines[len(lines)-1])
	}
	for i, c := range got {
		if c == '\x1b' || c == '\u202e' {
			t.Fatalf("byte %d: %q reaches the terminal", i, c)
		}
	}
	// Columns stay aligned through wide characters: every number of a column ends where its title ends.
	var header string
	for _, l := range lines {
		if strings.Contains(l, "duplicated") && strings.Contains(l, "staging") {
			header = l
		}
		if header == "" || !strings.Contains(l, "│") && !regexp.MustCompile(`\d+ +\d+ +\d+ +\d+ +\d+ +\d+$`).MatchString(l) {
			continue
		}
		if l != header && text.StringWidth(l) != text.StringWidth(header) {
			t.Errorf("%q is %d columns wide, the header %d", l, text.StringWidth(l), text.StringWidth(header))
		}
	}
	if header == "" {
		t.Error("no table")
	}
}

func TestTableNames(t *testing.T) {
	for name, width := range map[string]int{strings.Repeat("あ", 60): nameWidth - 1, strings.Repeat("a", 60): nameWidth, "あいう": 6, "": 9, " ": 3, "a ": 4} {
		got := tableName(name)
		if w := text.StringWidth(got); w > nameWidth || w != width {
			t.Errorf("%q takes %d columns, want %d", got, w, width)
		}
	}
}

func TestTextColor(t *testing.T) {
	var b bytes.Buffer
	if err := messy(t).Write(&b, FormatText, true); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "\x1b[1;31mFAIL\x1b[0m") {
		t.Errorf("begins with %.30q", b.String())
	}
}

// TestJSONReport reads the report back and judges its evidence again: nothing a verdict rests on may be lost on the way.
func TestJSONReport(t *testing.T) {
	r := messy(t)
	got := render(t, r, FormatJSON)
	var back struct {
		Verdict  json.RawMessage `json:"verdict"`
		Evidence json.RawMessage `json:"evidence"`
	}
	if err := json.Unmarshal([]byte(got), &back); err != nil {
		t.Fatal(err)
	}
	ev, err := DecodeEvidence(back.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(r.Verdict)
	again, _ := json.Marshal(Judge(*ev, Policy{}))
	if string(want) != string(again) {
		t.Errorf("judged again after JSON:\n%s\nwant\n%s", again, want)
	}
}

func TestDecodeEvidence(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		err  string
	}{
		"unknown field":         {`{"schema":2,"verdict":"PASS"}`, "unknown field"},
		"two documents":         {`{"schema":2}{"schema":2}`, "invalid character"},
		"not JSON":              {`PASS`, "invalid character"},
		"wrong type":            {`{"schema":2,"ledger":{"requests":-1}}`, "cannot unmarshal"},
		"of the release before": {`{"schema":1,"events":[]}`, ""},
		"newer":                 {`{"schema":3,"anything":true}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ev, err := DecodeEvidence([]byte(c.data))
			if c.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				if v := Judge(*ev, Policy{}); v.Outcome != Inconclusive || v.Reasons[0].Code != CodeSchema {
					t.Errorf("evidence of a newer schema: %s %+v", v.Outcome, v.Reasons)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func TestJUnitReport(t *testing.T) {
	r := messy(t)
	got := render(t, r, FormatJUnit)
	var back junitSuites
	if err := xml.Unmarshal([]byte(got), &back); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	failed, skipped := 0, 0
	for _, c := range back.Suites[0].Cases {
		if c.Failure != nil {
			failed++
			if c.Failure.Body == "" && c.Name != "renamed" {
				t.Errorf("case %q fails without a text in its body", c.Name)
			}
		}
		if c.Skipped != nil {
			skipped++
		}
	}
	if failed != back.Failed || skipped != back.Skipped || len(back.Suites[0].Cases) != back.Tests || failed < 5 {
		t.Errorf("counts %+v do not fit: %d failed, %d skipped of %d", back, failed, skipped, len(back.Suites[0].Cases))
	}
	r.Evidence.Candidate.Reachable = false
	clean := *r.Evidence
	clean.Events = []Event{{Name: "view", Stage: warehouse.Raw, Live: 1, Candidate: 1}}
	clean.Either.Requests, clean.Either.IDSum, clean.Lost, clean.Ledger.Requests = 1, clean.Ledger.IDSum, Lost{}, 1
	got = render(t, NewReport(&clean, Policy{}), FormatJUnit)
	if !strings.Contains(got, `name="verdict (inconclusive)"`) || !strings.Contains(got, `name="view (inconclusive)"`) || strings.Contains(got, "<failure") {
		t.Errorf("an inconclusive report:\n%s", got)
	}
}

func TestMarkdownReport(t *testing.T) {
	r := messy(t)
	got := render(t, r, FormatMarkdown)
	golden(t, "report.md", got)
	for _, l := range strings.Split(got, "\n") {
		if strings.HasPrefix(l, "- ") && regexp.MustCompile(`<|[^\\]\]\(|://|@\w|\| |\x1b`).MatchString(l) {
			t.Errorf("a name formats, links or mentions in %q", l)
		}
	}
	// A step summary of more than 1 MiB is lost as a whole.
	for i := range 40_000 {
		r.Evidence.Events = append(r.Evidence.Events, Event{Name: fmt.Sprintf("a rather long event name, number %d", i), Stage: warehouse.Raw, Live: 2, Candidate: 1, Faults: Faults{Missing: 1}})
	}
	r.Verdict = Judge(*r.Evidence, Policy{})
	got = render(t, r, FormatMarkdown)
	if len(got) > maxMarkdown {
		t.Errorf("%d bytes", len(got))
	}
	if !regexp.MustCompile(`\([0-9,]+ more names`).MatchString(got) {
		t.Error("what was left out is not counted")
	}
	if !strings.Contains(got, "### Notes") && !strings.Contains(got, "### Why") {
		t.Error("the reasons were cut off with the table")
	}
}

func TestHTMLReport(t *testing.T) {
	got := render(t, messy(t), FormatHTML)
	for _, bad := range []string{"<script", "src=", "href=", "url(", "\x1b", "\u202e"} {
		if strings.Contains(got, bad) {
			t.Errorf("holds %q", bad)
		}
	}
	for _, want := range []string{"&lt;script&gt;", "購入ボタン", "data.properties.n", "FAIL"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q", want)
		}
	}
}
