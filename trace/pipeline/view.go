package pipeline

import (
	"fmt"
	"iter"
	"slices"
)

// Decision is what View decides.
type Decision byte

// The decisions.
const (
	Send   Decision = iota // send the View
	Skip                   // the event does not belong to this tracker: there is no outcome
	Refuse                 // it belongs to it, but may not go: the Outcome says why
)

// View returns e as the tracker may send it: with its names, only what it gets of properties and context, and ids in its form. Unless the decision
// is Refuse, the outcome is zero. The result shares memory with e. The configuration in force counts, not the one that e
// was made with: what it no longer lists does not leave.
func (p *Pipeline) View(tracker string, e *Event) (Event, Decision, Outcome) {
	t, ok := p.config.Trackers[tracker]
	if !ok {
		panic(fmt.Errorf("%w: %q", ErrUnknownTracker, tracker))
	}
	refuse := func(reason Reason, rule, hint string) (Event, Decision, Outcome) {
		return Event{}, Refuse, Outcome{Position: e.Position, ID: e.ID, Name: e.Name, Source: e.Source, Stage: tracker, Result: Rejected, Reason: reason, Rule: rule, Hint: hint}
	}
	rules := p.events[e.Name]
	if rules == nil {
		return refuse(UnknownEvent, "events", "the allowlist held it when it was received")
	}
	m := rules.views[tracker]
	if m == nil {
		return Event{}, Skip, Outcome{}
	}
	if rule := e.Context.Privacy.refuses(tracker, t.Consent); rule != "" {
		return refuse(NoConsent, rule, "")
	}
	v := *e
	v.Name = m.name
	v.Plain = nil
	v.Context = e.Context.only(t.Context)
	if t.IDs == PlainIDs && e.Plain != nil {
		if e.Plain.DeviceID != "" {
			v.DeviceID = e.Plain.DeviceID
		}
		if e.Plain.UserID != "" {
			v.UserID = e.Plain.UserID
		}
	}
	v.Properties = make([]Property, 0, len(e.Properties))
	for _, one := range e.Properties {
		if name, ok := m.properties[one.Name]; ok {
			v.Properties = append(v.Properties, Property{name, one.Value})
		}
	}
	slices.SortFunc(v.Properties, func(a, b Property) int { return compare(a.Name, b.Name) })
	return v, Send, Outcome{}
}

// only returns what of the context is listed, and what the person asked for, which says nothing else about them.
func (c *Context) only(listed []ContextWord) Context {
	v := Context{Privacy: c.Privacy}
	for _, word := range listed {
		switch word {
		case ContextBrowser:
			v.Browser, v.Version = c.Browser, c.Version
		case ContextOS:
			v.OS = c.OS
		case ContextDevice:
			v.Device = c.Device
		case ContextLanguage:
			v.Language = c.Language
		case ContextCountry:
			v.Country = c.Country
		case ContextPage:
			v.Page = c.Page
		case ContextReferrer:
			v.Referrer = c.Referrer
		case ContextIP:
			v.IP = c.IP
		}
	}
	return v
}

// Parts returns the parts of the context that are known, under the names that they have as properties, at a vendor that
// has no fields for them.
func (c *Context) Parts() iter.Seq2[string, string] {
	return c.parts(PropertyBrowser, PropertyBrowserVersion, PropertyOS, PropertyDevice, PropertyLanguage, PropertyCountry, PropertyPage, PropertyReferrer, PropertyIP)
}

// Unplaced returns those of Parts that few vendors have fields for: browser, page and referrer.
func (c *Context) Unplaced() iter.Seq2[string, string] {
	return c.parts(PropertyBrowser, PropertyBrowserVersion, PropertyPage, PropertyReferrer)
}

// Names of the parts of the context as properties. No client's property has to make room for them.
const (
	PropertyBrowser        = "context_browser"
	PropertyBrowserVersion = "context_browser_version"
	PropertyOS             = "context_os"
	PropertyDevice         = "context_device"
	PropertyLanguage       = "context_language"
	PropertyCountry        = "context_country"
	PropertyPage           = "context_page"
	PropertyReferrer       = "context_referrer"
	PropertyIP             = "context_ip"
)

func (c *Context) parts(names ...string) iter.Seq2[string, string] {
	return func(yield func(name, text string) bool) {
		for _, name := range names {
			if text := c.part(name); text != "" && !yield(name, text) {
				return
			}
		}
	}
}

func (c *Context) part(name string) string {
	switch name {
	case PropertyBrowser:
		return c.Browser
	case PropertyBrowserVersion:
		return c.Version
	case PropertyOS:
		return c.OS
	case PropertyDevice:
		return c.Device
	case PropertyLanguage:
		return c.Language
	case PropertyCountry:
		return c.Country
	case PropertyPage:
		return c.Page
	case PropertyReferrer:
		return c.Referrer
	case PropertyIP:
		return c.IP
	}
	return ""
}

// refuses returns the rule by which a tracker may not have the event; "" if there is none.
func (p *Privacy) refuses(tracker string, c TrackerConsent) string {
	place := "trackers." + tracker + ".consent."
	if p.GPC && slices.Contains(c.Signals, SignalGPC) {
		return place + "signals.gpc"
	}
	if p.DNT && slices.Contains(c.Signals, SignalDNT) {
		return place + "signals.dnt"
	}
	for _, purpose := range c.Purposes {
		at := slices.IndexFunc(p.Consent, func(one Consent) bool { return one.Purpose == purpose })
		if at >= 0 && !p.Consent[at].Granted || at < 0 && c.Without != WithoutSend {
			return place + "purposes." + purpose
		}
	}
	return ""
}
