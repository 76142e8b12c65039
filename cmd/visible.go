package cmd

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// visible returns a report as it may leave the operators' side. Events are compared under the names that clients gave
// them, and a client may put an address or a key into a name: such names are scrubbed wherever they stand. What the mirror
// keeps has them as they are.
func visible(r compare.Report) (compare.Report, error) {
	if r.Evidence == nil {
		return r, nil
	}
	var pairs []string
	names := map[string]bool{}
	add := func(name string) {
		if shown := pipeline.VisibleName(name); shown != name && !names[name] {
			names[name] = true
			pairs = append(pairs, name)
		}
	}
	for _, e := range r.Evidence.Events {
		add(e.Name)
	}
	for _, x := range r.Evidence.NotExercised {
		add(x.Name)
	}
	if len(pairs) == 0 {
		return r, nil
	}
	slices.SortFunc(pairs, func(a, b string) int { return len(b) - len(a) }) // a name may be part of another
	var replace []string
	for _, name := range pairs {
		replace = append(replace, name, pipeline.VisibleName(name))
	}
	replacer := strings.NewReplacer(replace...)
	data, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	var tree any
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber() // sums of ids have more digits than a float
	if err := decoder.Decode(&tree); err != nil {
		return r, err
	}
	if data, err = json.Marshal(replaced(tree, replacer)); err != nil {
		return r, err
	}
	var out compare.Report
	return out, json.Unmarshal(data, &out)
}

// replaced returns a JSON value with every string in it replaced.
func replaced(v any, r *strings.Replacer) any {
	switch v := v.(type) {
	case string:
		return r.Replace(v)
	case []any:
		for i := range v {
			v[i] = replaced(v[i], r)
		}
	case map[string]any:
		for key := range v {
			v[key] = replaced(v[key], r)
		}
	}
	return v
}
