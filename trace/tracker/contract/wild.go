package contract

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/trace/pipeline"
	counts "github.com/sparrowhq/sparrow/trace/sandbox/record"
)

type record = counts.Counts

// Wild makes an event that breaks the vendors' rules as often as not: names, ids, values, their number, depth and
// length. It is one that the pipeline could let through: valid JSON, UTF-8, unique names in bytewise order.
func Wild(r *rand.Rand, n int) pipeline.Event {
	e := Plain(n)
	e.Name = pick(r, "zone_delete", "zone_delete", "pageview", "page_view", "session_start", "error", "zone.delete", "1st", "_x", "ga_x", "gtag.x", "$identify",
		"firebase_x", "naïve", strings.Repeat("n", 40), strings.Repeat("n", 41), strings.Repeat("n", 128), "ad_click", "app_install", "x y", "😀")
	if r.IntN(4) > 0 {
		e.Name = "zone_delete"
	}
	if r.IntN(3) == 0 {
		e.DeviceID = pick(r, "unknown", "0", "ab", "Anonymous", "00000000-0000-0000-0000-000000000000", "é", strings.Repeat("d", 255), strings.Repeat("d", 256), `"quoted"\`)
	}
	if r.IntN(3) == 0 {
		e.UserID = pick(r, "4711", "null", "u", "someone@example.com", strings.Repeat("u", 256), "用户", "-1")
	}
	if r.IntN(20) == 0 {
		e.Time = time.Now().Add(-time.Duration(r.IntN(100)) * time.Hour).UnixMicro()
		if time.Since(time.UnixMicro(e.Time)) > 71*time.Hour { // the pipeline's limits.age; older ones are the Sender's to reject
			e.Time = e.ReceivedAt
		}
	}
	count := r.IntN(8)
	if r.IntN(10) == 0 {
		count = 20 + r.IntN(20)
	}
	names := map[string]bool{}
	for range count {
		name := pick(r, "url", "title", "referrer", "pathname", "page_title", "page_location", "page_referrer", "session_id", "engagement_time_msec", "event_id", "items",
			"eventId", "timestamp_micros", "a.b", "_a", "ga_b", "google_c", "ünï", "", strings.Repeat("p", 41), strings.Repeat("p", 1030), `q"\`, "😀")
		if r.IntN(2) == 0 {
			name = fmt.Sprintf("p%d", r.IntN(100))
		}
		if names[name] {
			continue
		}
		names[name] = true
		e.Properties = append(e.Properties, pipeline.Property{Name: name, Value: json.RawMessage(wildValue(r, 0))})
	}
	if r.IntN(3) == 0 {
		e.Context = wildContext(r)
	}
	slices.SortFunc(e.Properties, func(a, b pipeline.Property) int { return strings.Compare(a.Name, b.Name) })
	return e
}

func wildValue(r *rand.Rand, depth int) string {
	switch r.IntN(12) {
	case 0:
		return pick(r, "true", "false")
	case 1:
		return pick(r, "0", "-1", "1.5e300", "12345678901234567890", strings.Repeat("9", 100), strings.Repeat("9", 101), "-0.0")
	case 2:
		text := strings.Repeat(pick(r, "x", "é", "😀", `\u00e9`, `\ud83d\ude00`, `\"`, `\\`, `\n`), []int{99, 100, 101, 300, 301, 420, 421, 1000, 1001, 1023, 1024, 1025, 2000}[r.IntN(13)])
		return `"` + text + `"`
	case 3:
		if depth > 2 {
			return strings.Repeat("[", 45) + strings.Repeat("]", 45)
		}
		var parts []string
		for range r.IntN(3) {
			parts = append(parts, wildValue(r, depth+1))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case 4:
		if depth > 2 {
			return strings.Repeat(`{"a":`, 39) + "1" + strings.Repeat("}", 39)
		}
		var parts []string
		for i := range r.IntN(3) {
			parts = append(parts, fmt.Sprintf(`"m%d":%s`, i, wildValue(r, depth+1)))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case 5:
		return pick(r, `""`, `"\ud800"`, `"\u0000"`, `"https://www.example.com/zones?x=1"`, `"a \/ b"`)
	}
	return fmt.Sprintf(`"value %d"`, r.IntN(1000))
}

func pick(r *rand.Rand, texts ...string) string { return texts[r.IntN(len(texts))] }
