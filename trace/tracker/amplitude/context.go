package amplitude

import (
	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker/wire"
)

// programs are what the context calls a browser and is none: their events are of no web page.
var programs = map[string]bool{
	"okhttp": true, "Dalvik": true, "CFNetwork": true, "curl": true, "Wget": true, "Python": true, "Go": true, "Node": true, "Java": true, "Electron": true,
}

// appendContext writes the parts of the context that the vendor has fields for:
//
//	,"platform":"Web","os_name":…,"device_model":…,"language":…,"country":…,"ip":…
//
// platform follows from the browser; device_model is the class: desktop, mobile, tablet, tv, bot. For what it has no field
// for see Unplaced.
func appendContext(b []byte, c *pipeline.Context) []byte {
	platform := ""
	if c.Browser != "" && !programs[c.Browser] {
		platform = "Web"
	}
	for _, one := range [...]struct{ name, text string }{
		{"platform", platform}, {"os_name", c.OS}, {"device_model", c.Device}, {"language", c.Language}, {"country", c.Country}, {"ip", c.IP},
	} {
		if one.text != "" {
			b = wire.AppendString(append(append(append(b, `,"`...), one.name...), `":`...), one.text)
		}
	}
	return b
}
