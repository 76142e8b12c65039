package ga4

import (
	"strings"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// categories are the vendor's words for classes of devices. It has none for bots.
var categories = map[string]string{"desktop": "desktop", "mobile": "mobile", "tablet": "tablet", "tv": "smart tv"}

// appendContext writes
//
//	,"user_location":{"country_id":…},"device":{"category":…,"language":…,"operating_system":…,"browser":…,"browser_version":…}
//
// as far as the context has it; without a country "ip_override":… in its place, which the vendor ignores beside one.
func appendContext(b []byte, c *pipeline.Context, f *tracker.Form) []byte {
	switch {
	case c.Country != "":
		b = append(wire.AppendString(append(b, `,"user_location":{"country_id":`...), c.Country), '}')
	case c.IP != "":
		b = wire.AppendString(append(b, `,"ip_override":`...), c.IP)
	}
	language := c.Language
	if primary, _, _ := strings.Cut(language, "-"); language != "" && len(primary) != 2 {
		f.Warnings = append(f.Warnings, tracker.Warning{Code: "VALUE_INVALID", Field: "device.language", Text: "the vendor knows languages of two letters; it was left out"})
		language = ""
	}
	began := false
	for _, one := range [...]struct{ name, text string }{
		{"category", categories[c.Device]}, {"language", language}, {"operating_system", c.OS}, {"browser", c.Browser}, {"browser_version", c.Version},
	} {
		if one.text == "" {
			continue
		}
		if !began {
			b = append(b, `,"device":{"`...)
		} else {
			b = append(b, `,"`...)
		}
		began = true
		b = wire.AppendString(append(append(b, one.name...), `":`...), one.text)
	}
	if began {
		b = append(b, '}')
	}
	return b
}

// context writes page_location and page_referrer, unless the event has them among its properties.
func (w *params) context(e *pipeline.Event, view bool) {
	has := func(names ...string) bool {
		for i, name := range names {
			if (i == 0 || view) && e.Property(name) != nil { // the others are renamed in page views only
				return true
			}
		}
		return false
	}
	if c := &e.Context; c.Page != "" && !has("page_location", "url") {
		w.value("page_location", wire.AppendString(nil, c.Page))
	}
	if c := &e.Context; c.Referrer != "" && !has("page_referrer", "referrer") {
		w.value("page_referrer", wire.AppendString(nil, c.Referrer))
	}
}
