// Command stringifies is a candidate build with one seeded fault: a stage of its own turns the whole numbers of a property
// into text.
package main

import (
	"bytes"
	"os"
	"strconv"

	"github.com/sparrowhq/sparrow/cmd"
	"github.com/sparrowhq/sparrow/trace"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

type stringify struct{ property string }

func (s stringify) Name() string { return "stringify" }

func (s stringify) Apply(e *pipeline.Event) bool {
	for i, p := range e.Properties {
		if p.Name == s.property && !bytes.HasPrefix(p.Value, []byte(`"`)) {
			e.Properties[i].Value = strconv.AppendQuote(nil, string(p.Value))
		}
	}
	return true
}

func main() {
	os.Exit(cmd.Main(cmd.Extension{Trace: func(o *trace.Options) {
		o.Stages = append(o.Stages, stringify{"results"})
	}}))
}
