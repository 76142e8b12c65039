package pipeline

import (
	"maps"
	"slices"
)

// EventsOf returns the names, as the allowlist spells them, of the events that a tracker gets if nothing else keeps them
// away; sorted.
func (c *Config) EventsOf(tracker string) []string {
	t, ok := c.Trackers[tracker]
	if !ok {
		return nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.Events)) {
		if !c.Events[name].Trackers[tracker].Skip && (t.Events == nil || slices.Contains(t.Events, name)) {
			names = append(names, name)
		}
	}
	return names
}

// visibleNames scrubs names as a pipeline does with those that its allowlist does not hold.
var visibleNames = &Pipeline{masking: newScrubber(Scrub{Rules: DefaultRules(), KeepParams: DefaultParams()}, make([]byte, MinSecret)).masking()}

// VisibleName is an event's name as it may be shown to anybody: a client may have put an address or a key into it. What
// the built-in rules find is masked; a name in which they find nothing stays as it is, whatever its length.
func VisibleName(name string) string {
	if visibleNames.masking.scrub([]byte(name), visibleNames.masking.on, false).touched == 0 {
		return name
	}
	return visibleNames.foreign(name)
}
