package sandbox

import (
	"net/netip"
	"regexp"
	"slices"
)

// documentedMembers of the objects that say where an event comes from. The vendor's reader knows no others.
var documentedMembers = map[string][]string{
	"user_location": {"city", "region_id", "country_id", "subcontinent_id", "continent_id"},
	"device":        {"category", "language", "screen_resolution", "operating_system", "operating_system_version", "model", "brand", "browser", "browser_version"},
}

// Forms of members that the reference gives by a standard: ISO 3166-1 alpha-2, ISO 639-1 with a region.
var documentedForms = map[string]*regexp.Regexp{
	"user_location.country_id": regexp.MustCompile(`^[A-Z]{2}$`),
	"device.language":          regexp.MustCompile(`^[a-z]{2}(-[A-Z]{2})?$`),
}

// readContext checks user_location, device or ip_override. What is at fault is ignored, and the events are kept.
func readContext(h *hit, field string, v value) {
	bad := func(path, reason, text string, args ...any) {
		h.fault(valueInvalid, path, reason, text, args...).property = path
	}
	if field == "ip_override" {
		text, ok := v.text()
		if _, err := netip.ParseAddr(text); !ok || err != nil {
			bad(field, "ip_override is not an address", "ip_override is not an IP address.")
		}
		return
	}
	if v.kind() != '{' {
		bad(field, field+" is not an object", "%s is not an object.", field)
		return
	}
	for name, member := range v.members() {
		path := field + "." + string(name)
		if !slices.Contains(documentedMembers[field], string(name)) {
			bad(path, "unknown field", "%s has no field [%s].", field, name)
			continue
		}
		text, ok := member.text()
		if form := documentedForms[path]; !ok || form != nil && !form.MatchString(text) {
			bad(path, path+" invalid", "%s has the invalid value [%s].", path, text)
		}
	}
}
