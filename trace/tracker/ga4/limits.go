package ga4

import (
	"strings"
	"time"
)

// What the vendor documents. Written from its reference, apart from the sandbox, so that each checks the other.
const (
	maxEvents   = 25
	maxParams   = 25
	maxName     = 40
	maxValue    = 100
	maxTitle    = 300
	maxReferrer = 420
	maxLocation = 1000
	maxBody     = 130_000 // bytes a body stays below
	backDating  = 72 * time.Hour
)

// nameRule returns the rule a name breaks, or "": ^[A-Za-z]\w*$, and not too long. The vendor drops others in silence.
func nameRule(name string, limit int) string {
	if len(name) > limit {
		return "have at most 40 characters"
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return "are a letter followed by letters, digits and underscores"
		}
	}
	if name == "" {
		return "are not empty"
	}
	if reservedPrefix(name) {
		return "do not begin with a prefix of the vendor's own"
	}
	return ""
}

func reservedPrefix(name string) bool {
	for _, p := range []string{"_", "firebase_", "ga_", "google_", "gtag."} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// reservedEvents are those of any of the vendor's lists: for the protocol, for apps and for the web. They do not agree
// with each other, and what only one of them reserves is as lost as the others.
var reservedEvents = set(
	"ad_activeview", "ad_click", "ad_exposure", "ad_impression", "ad_query", "ad_reward", "adunit_exposure",
	"app_background", "app_clear_data", "app_exception", "app_install", "app_remove", "app_store_refund",
	"app_store_subscription_cancel", "app_store_subscription_convert", "app_store_subscription_renew", "app_update", "app_upgrade",
	"dynamic_link_app_open", "dynamic_link_app_update", "dynamic_link_first_open", "error", "first_open", "first_visit",
	"in_app_purchase", "notification_dismiss", "notification_foreground", "notification_open", "notification_receive", "notification_send",
	"os_update", "screen_view", "session_start", "user_engagement",
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
