package compare

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Name    string       `xml:"name,attr"`
	Tests   int          `xml:"tests,attr"`
	Failed  int          `xml:"failures,attr"`
	Skipped int          `xml:"skipped,attr"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failed     int             `xml:"failures,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Body    string `xml:",chardata"`
}

// writeJUnit writes a test case for the verdict as a whole and one per event name and stage. What is not a PASS as a
// whole never shows as one: viewers that hide skipped cases still show them in the name.
func (r Report) writeJUnit(w io.Writer) error {
	v := r.Verdict
	suite := junitSuite{Name: "sparrow compare", Properties: []junitProperty{
		{"outcome", string(v.Outcome)}, {"window", fmt.Sprintf("%d..%d", v.Window.First, v.Window.Last)},
		{"candidate", v.Candidate.ID}, {"journal", Visible(v.Journal)}, {"generation", fmt.Sprint(v.Generation)}, {"head", v.Head},
	}}
	add := func(c junitCase) {
		suite.Tests++
		if c.Failure != nil {
			suite.Failed++
		}
		if c.Skipped != nil {
			suite.Skipped++
			c.Name += " (inconclusive)"
		}
		suite.Cases = append(suite.Cases, c)
	}
	verdict := junitCase{Name: "verdict", Class: "sparrow.compare"}
	var all []string
	for _, x := range v.Reasons {
		all = append(all, fmt.Sprintf("%s: %s", x.Code, x.Text))
	}
	all = append(all, v.Missing...)
	switch v.Outcome {
	case Pass:
	case Fail:
		verdict.Failure = &junitMessage{Message: v.Summary, Body: strings.Join(all, "\n")}
	default:
		verdict.Skipped = &junitMessage{Message: v.Summary, Body: strings.Join(all, "\n")}
	}
	add(verdict)
	lines, _ := r.stageLines()
	for _, l := range lines[1:] {
		c := junitCase{Name: "stage", Class: "sparrow.compare." + Visible(string(l.Stage))}
		switch {
		case l.Decides && l.Differ():
			c.Failure = &junitMessage{Message: l.differs()}
		case !l.Closed || !l.Decides:
			c.Skipped = &junitMessage{Message: l.State}
		}
		add(c)
	}
	for _, e := range r.Evidence.Events {
		c := junitCase{Name: shownName(e.Name), Class: "sparrow.compare." + Visible(string(e.Stage))}
		var why []string
		for _, x := range v.Reasons {
			if x.Event != nil && *x.Event == e.Name && x.Stage == e.Stage {
				why = append(why, x.Text)
			}
		}
		for _, x := range e.Examples {
			why = append(why, fmt.Sprintf("%s %s at %s%s", x.Kind, Visible(x.EventID), x.Position, r.remark(x)))
		}
		undecided := !slices.ContainsFunc(lines, func(l stageLine) bool { return l.Stage == e.Stage && l.Decides })
		switch {
		case undecided:
			c.Skipped = &junitMessage{Message: or(e.differs(), "no difference") + "; the stage decides nothing", Body: strings.Join(why, "\n")}
		case e.Differ():
			c.Failure = &junitMessage{Message: e.differs(), Body: strings.Join(why, "\n")}
		case v.Outcome != Pass && v.Outcome != Fail:
			c.Skipped = &junitMessage{Message: v.Summary}
		case e.Judged() == 0:
			c.Skipped = &junitMessage{Message: "no event of this name reached both sides"}
		}
		add(c)
	}
	for _, f := range r.Evidence.Folded {
		c := junitCase{Name: fmt.Sprintf("%d more names", f.Names), Class: "sparrow.compare." + Visible(string(f.Stage))}
		if f.Faults.Differ() {
			c.Failure = &junitMessage{Message: Event{Faults: f.Faults}.differs()}
		}
		add(c)
	}
	out := junitSuites{Name: suite.Name, Tests: suite.Tests, Failed: suite.Failed, Skipped: suite.Skipped, Suites: []junitSuite{suite}}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// differs counts an event's faults in words.
func (e Event) differs() string {
	var parts []string
	for _, c := range tableColumns {
		if n := c.of(e); c.fault && n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", grouped(n), c.title))
		}
	}
	return strings.Join(parts, ", ")
}
