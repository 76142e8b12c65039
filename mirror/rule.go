package mirror

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sparrowhq/sparrow/event"
)

// Rule says what a stack is configured not to get. What it leaves out is counted as sampled.
//
// A rule that changes applies to the frames journaled after that: of each frame it can always be told which rule it
// fell under, however often it is delivered.
type Rule struct {
	// Sample applies while the stack is the candidate; nil: it gets everything.
	Sample *event.Sample `json:"sample,omitempty"`
	// Methods and Paths, if not empty, are the only ones it gets, in either role. A path that ends in * stands for all
	// that begin so.
	Methods []string `json:"methods,omitempty"`
	Paths   []string `json:"paths,omitempty"`
}

// normal returns the rule that does the same and compares equal.
func (r Rule) normal() Rule {
	if r.Sample != nil && r.Sample.All() {
		r.Sample = nil
	}
	if slices.Contains(r.Methods, "*") {
		r.Methods = nil
	}
	if slices.Contains(r.Paths, "*") || slices.Contains(r.Paths, "/*") {
		r.Paths = nil
	}
	return r
}

// all reports whether nothing is left out, in a role.
func (r Rule) all(candidate bool) bool {
	return len(r.Methods) == 0 && len(r.Paths) == 0 && (r.Sample == nil || !candidate)
}

func (r Rule) equal(q Rule) bool {
	same := (r.Sample == nil) == (q.Sample == nil) && (r.Sample == nil || *r.Sample == *q.Sample)
	return same && slices.Equal(r.Methods, q.Methods) && slices.Equal(r.Paths, q.Paths)
}

// keeps reports whether the stack gets a request, in a role.
func (r Rule) keeps(q *event.Request, candidate bool) bool {
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, string(q.Method)) {
		return false
	}
	if len(r.Paths) > 0 && !slices.ContainsFunc(r.Paths, func(path string) bool {
		if begin, open := strings.CutSuffix(path, "*"); open {
			return strings.HasPrefix(string(q.Path), begin)
		}
		return path == string(q.Path)
	}) {
		return false
	}
	return !candidate || r.Sample == nil || r.Sample.Keeps(q)
}

// since is a rule and the first frame it applies to.
type since struct {
	Frame uint64 `json:"frame"`
	Rule  Rule   `json:"rule"`
}

// run is a run of requests in one frame, [from, to).
type run struct{ from, to uint32 }

// within returns the parts of runs that lie in [from, to).
func within(runs []run, from, to uint32) []run {
	var in []run
	for _, r := range runs {
		if r.from, r.to = max(r.from, from), min(r.to, to); r.from < r.to {
			in = append(in, r)
		}
	}
	return in
}

// lengths adds runs up.
func lengths(runs []run) (n uint32) {
	for _, r := range runs {
		n += r.to - r.from
	}
	return n
}

// leaves returns what r leaves out of a frame, in a role, and its totals; with it the frame's bytes without those
// requests: of each only the id is left, so that the others keep their places.
func (r Rule) leaves(frame []byte, candidate bool) (runs []run, left event.Totals, stripped []byte, err error) {
	if r.all(candidate) {
		return nil, left, frame, nil
	}
	f, err := event.DecodeFrame(frame)
	if err != nil {
		return nil, left, nil, err
	}
	for i, q := range f.Requests {
		if r.keeps(q, candidate) {
			continue
		}
		left.Add(uuid.UUID(q.Id), len(q.Body), q.ReceivedAt)
		n := uint32(i)
		if k := len(runs); k > 0 && runs[k-1].to == n {
			runs[k-1].to++
		} else {
			runs = append(runs, run{n, n + 1})
		}
	}
	if len(runs) == 0 {
		return nil, left, frame, nil
	}
	stripped, err = strip(frame, f, runs)
	return runs, left, stripped, err
}

// strip writes the frame without what stands in runs.
func strip(frame []byte, f *event.Frame, runs []run) ([]byte, error) {
	out := make([]byte, 0, len(frame))
	n := uint32(0)
	for b := frame; len(b) > 0; {
		field, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return nil, protowire.ParseError(tag)
		}
		value := protowire.ConsumeFieldValue(field, kind, b[tag:])
		if value < 0 {
			return nil, protowire.ParseError(value)
		}
		size := tag + value
		if field != 1 || kind != protowire.BytesType {
			b = b[size:]
			continue
		}
		for len(runs) > 0 && runs[0].to <= n {
			runs = runs[1:]
		}
		if len(runs) > 0 && runs[0].from <= n {
			var err error
			if out, err = event.AppendRequest(out, &event.Request{Id: f.Requests[n].Id}); err != nil {
				return nil, err
			}
		} else {
			out = append(out, b[:size]...)
		}
		n++
		b = b[size:]
	}
	return out, nil
}

// checked returns r normal, or what is wrong with it. headers are those that are journaled: nothing else can be sampled by.
func (r Rule) checked(headers []string) (Rule, error) {
	r = r.normal()
	if s := r.Sample; s != nil {
		if !(s.Percent >= 0 && s.Percent <= 100) {
			return r, fmt.Errorf("a sample of %v percent: want 0 to 100", s.Percent)
		}
		if s.By != event.ByRequestID && !slices.Contains(headers, s.By) {
			return r, fmt.Errorf("a sample by header %s, which is not journaled: add it to clients.headers", s.By)
		}
	}
	for _, p := range r.Paths {
		if !strings.HasPrefix(p, "/") {
			return r, fmt.Errorf("path %q: must begin with /", p)
		}
	}
	return r, nil
}
