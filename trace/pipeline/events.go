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
