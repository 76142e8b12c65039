package rules

import (
	"fmt"
	"strings"

	"github.com/sparrowhq/sparrow/event"
)

// Role is what a stack is for a frame. Name is also that of the schema, or dataset, whose views show of each frame the stack
// that has the role.
type Role struct {
	Name  string
	other bool // the stack that is not live
}

// Roles are those there are.
func Roles() []Role { return []Role{{"live", false}, {"staging", true}} }

// Now is the stack that has the role for frames still to come; empty before the first control record.
func (r Role) Now(t event.Timeline) event.Stack {
	if live := t.Live(); live == "" || !r.other {
		return live
	}
	return t.Live().Other()
}

// Frames is the condition, in SQL of any dialect, that stack has the role for a row's frame.
func (r Role) Frames(t event.Timeline, stack event.Stack) string {
	if r.other {
		stack = stack.Other()
	}
	var or []string
	for _, s := range t.Spans(stack) {
		if s.Last == 0 {
			or = append(or, fmt.Sprintf("frame >= %d", s.First))
		} else {
			or = append(or, fmt.Sprintf("frame BETWEEN %d AND %d", s.First, s.Last))
		}
	}
	if len(or) == 0 {
		return "FALSE"
	}
	return "(" + strings.Join(or, " OR ") + ")"
}
