package compare

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// quoteName returns an event name as it may be shown anywhere: clients choose names, so whatever does not print is
// escaped.
func quoteName(name string) string {
	if name == "" {
		return "(no name)"
	}
	return `"` + Visible(name) + `"`
}

// shownName returns an event name for a table: unquoted, unless one could not tell where it begins or ends.
func shownName(name string) string {
	if name == "" || strings.TrimSpace(name) != name {
		return quoteName(name)
	}
	return Visible(name)
}

// Visible escapes what a terminal, a log or a reader would not show as it is: control characters, invisible ones, those
// that turn the direction of writing, and bytes that are not UTF-8.
func Visible(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r == '\uFFFD' && !strings.HasPrefix(s[i:], "\uFFFD") {
			fmt.Fprintf(&b, `\x%02x`, s[i])
			continue
		}
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// ShortBuild is a build id as people are shown it.
func ShortBuild(id string) string {
	switch {
	case id == "":
		return "unknown"
	case len(id) > 12:
		return Visible(id[:12])
	}
	return Visible(id)
}

// BuildName is a build as people are shown it.
func BuildName(b event.Build) string {
	if b.Version == "" {
		return ShortBuild(b.ID)
	}
	return Visible(b.Version) + " (" + ShortBuild(b.ID) + ")"
}

// grouped writes 1234567 as 1,234,567.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count writes a number and its noun.
func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(n) + " " + noun + "s"
}

func requests(n uint64) string { return count(n, "request") }

// share writes a share as it is.
func share(p float64) string {
	return strconv.FormatFloat(p*100, 'f', -1, 64) + " %"
}

// bound writes an upper bound with two significant digits, rounded up so that it stays one.
func bound(p float64) string {
	p *= 100
	digits := 0
	for scaled := p; scaled > 0 && scaled < 10 && digits < 12; scaled *= 10 {
		digits++
	}
	scale := math.Pow(10, float64(digits))
	up := math.Ceil(p*scale - 1e-9)
	if up == 100 && digits > 0 {
		up, digits, scale = 10, digits-1, scale/10
	}
	return strconv.FormatFloat(up/scale, 'f', digits, 64) + " %"
}

// such names the first examples.
func such(examples []Example) string {
	var ids []string
	for _, x := range examples[:min(3, len(examples))] {
		id := Visible(x.EventID)
		if id == "" {
			id = x.Position.String()
		}
		if x.Kind == Misrouted {
			id += " (" + x.describes() + ")"
		} else if len(x.Paths) > 0 {
			id += " (" + strings.Join(x.Paths[:min(3, len(x.Paths))], ", ") + ")"
		} else if len(x.Columns) > 0 {
			id += " (" + strings.Join(x.Columns, ", ") + ")"
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return ""
	}
	return "; such as " + strings.Join(ids, ", ")
}

func inFrames(spans []event.Span) string {
	if len(spans) == 0 {
		return ""
	}
	return " in " + Frames(spans)
}

// Frames names the first ranges of a list.
func Frames(spans []event.Span) string {
	var parts []string
	for _, s := range spans[:min(3, len(spans))] {
		if s.First == s.Last {
			parts = append(parts, strconv.FormatUint(s.First, 10))
		} else {
			parts = append(parts, fmt.Sprintf("%d–%d", s.First, s.Last))
		}
	}
	if more := len(spans) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	noun := "frames "
	if len(spans) == 1 && spans[0].First == spans[0].Last {
		noun = "frame "
	}
	return noun + strings.Join(parts, ", ")
}
