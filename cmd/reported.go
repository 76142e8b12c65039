package cmd

import (
	"maps"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/trace/pipeline"
)

// envelopeFields are what the trackers write beside the event's properties, without the ids of people and devices: names,
// times, and ids of events.
var envelopeFields = map[string][]string{
	"ga4":       {"name", "timestamp_micros", "params.event_id", "params.session_id", "params.engagement_time_msec"},
	"heap":      {"event", "timestamp", "idempotency_key"},
	"amplitude": {"event_type", "time", "insert_id", "platform", "os_name", "device_model", "language", "country"},
}

// propertiesAt is where a vendor's form has the event's properties.
var propertiesAt = map[string]string{"ga4": "params.", "heap": "properties.", "amplitude": "event_properties."}

// listed is what of an exchange is in a report, but for the payload.
func listed(t config.Telemetry) telemetry.Allowlist {
	return telemetry.Allowlist{Headers: t.SentryHeaders, Query: t.SentryQuery, Response: t.SentryResponse, ResponseText: t.SentryResponseText}
}

// reported says what of an exchange with a vendor may be in a report. Of the payload that is what the allowlist holds, under
// the names it has at each tracker; what a tracker's code should put there beside it is not shown. What others wrote is
// masked by the pipeline's rules.
func reported(c config.Config, p pipeline.Config, key []byte) (telemetry.Allowlist, error) {
	compiled, err := pipeline.New(pipeline.Options{Config: p, Secret: key})
	if err != nil {
		return telemetry.Allowlist{}, err
	}
	a := listed(c.Telemetry)
	a.Mask = compiled.Mask
	if !c.Telemetry.SentryPayload {
		return a, nil
	}
	for _, tracker := range slices.Sorted(maps.Keys(p.Trackers)) {
		rule := p.Trackers[tracker]
		names := sentNames(p, tracker)
		if rule.Vendor == "webhook" {
			a.Body = append(a.Body, webhookFields(c.Trackers.Of(tracker).Webhook, names)...)
			continue
		}
		a.Body = append(a.Body, envelopeFields[rule.Vendor]...)
		for _, name := range names {
			a.Body = append(a.Body, propertiesAt[rule.Vendor]+name)
		}
	}
	slices.Sort(a.Body)
	a.Body = slices.Compact(a.Body)
	return a, nil
}

// sentNames are the names, and for objects with members the paths, under which a tracker sends what the allowlist holds, and
// what it gets of the context but addresses.
func sentNames(p pipeline.Config, tracker string) []string {
	all := map[string]bool{}
	limits, _ := pipeline.LimitsOf(p.Trackers[tracker].Vendor)
	for _, name := range slices.Sorted(maps.Keys(p.Events)) {
		e := p.Events[name]
		m := e.Trackers[tracker]
		if m.Skip {
			continue
		}
		rules := maps.Clone(p.Properties)
		if rules == nil {
			rules = map[string]pipeline.PropertyRule{}
		}
		maps.Copy(rules, e.Properties)
		for path, rule := range rules {
			for _, as := range m.SentAs(path, limits) {
				members(all, as, rule)
			}
		}
	}
	for _, word := range p.Trackers[tracker].Context {
		if field, ok := limits.Fields[word]; ok && word != pipeline.ContextIP {
			all[field] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func members(all map[string]bool, path string, rule pipeline.PropertyRule) {
	if rule.Type != pipeline.Object && rule.Type != pipeline.Array {
		all[path] = true
		return
	}
	for name, member := range rule.Members { // without members the allowlist names nothing of it
		members(all, path+"."+name, member)
	}
}

// webhookFields are the members of a webhook's events that may be shown.
func webhookFields(w config.Webhook, names []string) []string {
	id := w.IDField
	if id == "" {
		id = "eventId"
	}
	list := []string{id}
	fields := w.Fields
	if len(fields) == 0 {
		fields = []string{"event=event", "source=source", "timestamp=timestamp", "receivedAt=receivedAt", "properties=properties"}
	}
	for _, f := range fields {
		name, from, _ := strings.Cut(f, "=")
		switch property, one := strings.CutPrefix(from, "properties."); {
		case one:
			for _, n := range names {
				if rest, ok := strings.CutPrefix(n, property); ok && (rest == "" || rest[0] == '.') {
					list = append(list, name+rest)
				}
			}
		case from == "properties":
			for _, n := range names {
				list = append(list, name+"."+n)
			}
		case slices.Contains([]string{"event", "key", "source", "timestamp", "timestampMs", "receivedAt"}, from), strings.HasPrefix(from, "="):
			list = append(list, name)
		}
	}
	if w.Wrap != "" {
		for _, s := range slices.Clone(list) {
			list = append(list, w.Wrap+"."+s)
		}
	}
	return list
}
