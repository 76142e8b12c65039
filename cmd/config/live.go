package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// live are the settings that a running mirror can change. All others take a restart of what they concern.
var live = []string{
	"clients.requests", "clients.origins", "clients.trusted_proxies", "clients.headers", "clients.max_body", "clients.max_headers", "clients.max_connections",
	"clients.max_reading", "clients.max_queue", "clients.min_rate", "clients.preflight", "clients.rate.per_second", "clients.rate.burst",
	"clients.tls.cert", "clients.tls.key", "clients.tls.min_version",
	"feeds.max_bytes", "feeds.call_timeout", "feeds.max_backoff", "feeds.catch_up_rate", "feeds.attempts", "feeds.patience",
	"compare.min_events", "compare.required", "compare.confidence", "compare.stages",
	"deploy.max_age", "deploy.max_tail", "deploy.max_lag", "deploy.skip",
}

// elsewhere reports whether a setting concerns other processes than the mirror alone.
func elsewhere(key string) bool {
	if strings.HasPrefix(key, "warehouse.") || strings.HasPrefix(key, "sandbox.") || strings.HasPrefix(key, "trackers.") || key == "key_file" {
		return true
	}
	part := strings.SplitN(key, ".", 3)
	return part[0] == "stacks" && len(part) == 3 && (part[2] == "listen" || part[2] == "build" || strings.HasPrefix(part[2], "dispatcher.") || strings.HasPrefix(part[2], "trace."))
}

// RestartError lists changed settings that cannot change while what they concern runs.
type RestartError struct{ Settings []string }

func (e *RestartError) Error() string {
	return fmt.Sprintf("a restart is needed to change %s: nothing was changed", strings.Join(e.Settings, ", "))
}

// Changed lists the settings in which b differs from a, in the order of the struct.
func Changed(a, b Config) (keys []string) {
	// By key: sections of trackers may have come or gone.
	before, after := Settings(&a), byKey(&b)
	for _, s := range before {
		if is, ok := after[s.Key]; !ok || s.String() != is.String() {
			keys = append(keys, s.Key)
		}
		delete(after, s.Key)
	}
	return append(keys, slices.Sorted(maps.Keys(after))...)
}

// Live returns nil if each of the changed settings can change while everything runs, or *RestartError. With mirror set,
// those that concern other processes alone are left out.
func Live(changed []string, mirror bool) error {
	var fixed []string
	for _, key := range changed {
		if !slices.Contains(live, key) && !(mirror && elsewhere(key)) {
			fixed = append(fixed, key)
		}
	}
	if len(fixed) > 0 {
		return &RestartError{fixed}
	}
	return nil
}

// Take sets c's settings called keys to what they are in from, and touches no others.
func (c *Config) Take(from Config, keys []string) {
	others := byKey(&from)
	for _, s := range Settings(c) {
		if other, ok := others[s.Key]; ok && slices.Contains(keys, s.Key) {
			s.value.Set(other.value)
		}
	}
}

// byKey are all settings of c.
func byKey(c *Config) map[string]Setting {
	all := map[string]Setting{}
	for _, s := range Settings(c) {
		all[s.Key] = s
	}
	return all
}
