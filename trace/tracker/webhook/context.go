package webhook

import (
	"strings"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// contextPrefix is what the parts of the context have in front where they are properties: here they are in an object.
const contextPrefix = "context_"

// parts are what may follow "context." in Field.From.
var parts = func() (names []string) {
	full := pipeline.Context{Browser: "x", Version: "x", OS: "x", Device: "x", Language: "x", Page: "x", Referrer: "x", IP: "x", Country: "x"}
	for name := range full.Parts() {
		names = append(names, strings.TrimPrefix(name, contextPrefix))
	}
	return names
}()

// appendContext writes {"browser":…,…}, or nothing if no part is known.
func appendContext(b []byte, c *pipeline.Context) []byte {
	began := false
	for name, text := range c.Parts() {
		if began {
			b = append(b, ',')
		} else {
			b = append(b, '{')
		}
		began = true
		b = wire.AppendString(append(wire.AppendString(b, strings.TrimPrefix(name, contextPrefix)), ':'), text)
	}
	if began {
		b = append(b, '}')
	}
	return b
}
