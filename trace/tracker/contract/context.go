package contract

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	"github.com/sparrowhq/sparrow/trace/tracker"
)

// wildContext makes a context as a View may hold it: any of its parts.
func wildContext(r *rand.Rand) pipeline.Context {
	some := func(texts ...string) string { return pick(r, append(texts, "")...) }
	c := pipeline.Context{
		Browser: some("Chrome", "Samsung Internet", "okhttp"), Version: some("126", "7"), OS: some("Windows", "iPadOS", "webOS"),
		Device: some("desktop", "mobile", "tablet", "tv", "bot"), Language: some("en", "pt-BR", "fil", "fil-PH"), Country: some("DE", "BR"),
		Page: some("https://www.example.com/a?utm_source=x", "https://é.example/\"<\\", "https://www.example.com/"+strings.Repeat("p", 976)),
		IP:   some("203.0.113.0", "2001:db8:1::"), Referrer: some("https://r.example/", "https://r.example/"+strings.Repeat("é", 490)),
	}
	if c.Browser == "" {
		c.Version = ""
	}
	return c
}

// contexts: each part of a context is in the vendor's form, in Split's evidence, and changes nothing else; an event
// without a context has none of it; and the same context is sent with each event of a request, or not at all.
func contexts(t *testing.T, s Subject) {
	plain := Plain(1)
	form := func(c pipeline.Context) (f *tracker.Form, whole []byte) {
		e := plain
		e.Context = c
		f = new(tracker.Form)
		if b := s.Vendor.Form(&e, f); b != nil {
			t.Fatalf("%+v: %+v", c, b)
		}
		var r tracker.Request
		s.Vendor.Assemble(credentialOf(s), []*tracker.Form{f}, &r)
		p, err := s.Vendor.Split(&r)
		if err != nil || len(p.Events) != 1 {
			t.Fatalf("%+v: %v: %s", c, err, r.Body)
		}
		return f, slices.Concat(p.Events[0].Head, []byte("\n"), p.Events[0].Body)
	}
	_, bare := form(pipeline.Context{})
	for word, c := range map[pipeline.ContextWord]pipeline.Context{
		pipeline.ContextBrowser: {Browser: "PlantedBrowser", Version: "987"}, pipeline.ContextOS: {OS: "PlantedOS"}, pipeline.ContextDevice: {Device: "tablet"},
		pipeline.ContextLanguage: {Language: "pt-BR"}, pipeline.ContextCountry: {Country: "BR"}, pipeline.ContextIP: {IP: "203.0.113.0"},
		pipeline.ContextPage: {Page: "https://page.example/planted"}, pipeline.ContextReferrer: {Referrer: "https://referrer.example/planted"},
	} {
		f, whole := form(c)
		for text := range map[string]bool{c.Browser: true, c.Version: true, c.OS: true, c.Device: true, c.Language: true, c.Country: true, c.IP: true, c.Page: true, c.Referrer: true} {
			if n := bytes.Count(whole, []byte(`"`+text+`"`)); text != "" && (n != 1 || bytes.Contains(bare, []byte(`"`+text+`"`))) {
				t.Errorf("%s: %q is there %d times: %s; without context: %s", word, text, n, whole, bare)
			}
		}
		if len(f.Warnings) > 0 {
			t.Errorf("%s: %+v", word, f.Warnings)
		}
	}
	// What the person asked for is for the pipeline to heed, and no field of any vendor's.
	if _, whole := form(pipeline.Context{Privacy: pipeline.Privacy{GPC: true, DNT: true, Consent: []pipeline.Consent{{Purpose: "ads", Granted: true}}}}); !bytes.Equal(whole, bare) {
		t.Errorf("privacy signals are sent: %s", whole)
	}
}
