package sandbox

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Unlimited lifts a limit.
const Unlimited = -1

// Limits are what the vendors accept. A zero field means the documented limit, a negative one none. Where a document
// writes kB or MB without saying which, the smaller reading holds: who stays below it is safe with both.
type Limits struct {
	GA4            GA4Limits       `yaml:"ga4" json:"ga4"`
	Heap           HeapLimits      `yaml:"heap" json:"heap"`
	Amplitude      AmplitudeLimits `yaml:"amplitude" json:"amplitude"`             // /2/httpapi
	AmplitudeBatch AmplitudeLimits `yaml:"amplitude_batch" json:"amplitude_batch"` // /batch
}

// GA4Limits are those of the Measurement Protocol. Lengths are in characters.
type GA4Limits struct {
	Body              int `yaml:"body" json:"body"`                               // bytes a body must stay below
	Events            int `yaml:"events" json:"events"`                           // a request
	Params            int `yaml:"params" json:"params"`                           // an event
	UserProperties    int `yaml:"user_properties" json:"user_properties"`         //
	Name              int `yaml:"name" json:"name"`                               // of an event or parameter
	Value             int `yaml:"value" json:"value"`                             // of a parameter
	PageTitle         int `yaml:"page_title" json:"page_title"`                   //
	PageReferrer      int `yaml:"page_referrer" json:"page_referrer"`             //
	PageLocation      int `yaml:"page_location" json:"page_location"`             //
	UserPropertyName  int `yaml:"user_property_name" json:"user_property_name"`   //
	UserPropertyValue int `yaml:"user_property_value" json:"user_property_value"` //
	BackDatingHours   int `yaml:"back_dating_hours" json:"back_dating_hours"`     //
}

// HeapLimits are those of the server-side track API.
type HeapLimits struct {
	Event                int `yaml:"event" json:"event"`                                     // characters of its name
	Identity             int `yaml:"identity" json:"identity"`                               // characters
	Text                 int `yaml:"text" json:"text"`                                       // characters a property's name or text must stay below
	Events               int `yaml:"events" json:"events"`                                   // a bulk request
	MinuteIdentity       int `yaml:"minute_identity" json:"minute_identity"`                 // events a minute for one identity, in bulk
	MinuteApp            int `yaml:"minute_app" json:"minute_app"`                           // events a minute for one app, in bulk
	SingleRequestsPer30s int `yaml:"single_requests_per_30s" json:"single_requests_per_30s"` // of one identity, not in bulk
}

// AmplitudeLimits are those of HTTP V2 and of batch upload.
type AmplitudeLimits struct {
	Body      int `yaml:"body" json:"body"`             // bytes, after decompression
	Events    int `yaml:"events" json:"events"`         // a request
	Text      int `yaml:"text" json:"text"`             // characters of any string
	Depth     int `yaml:"depth" json:"depth"`           // of nested properties
	ID        int `yaml:"id" json:"id"`                 // fewest characters of a user or device id, unless the request says otherwise
	PerSecond int `yaml:"per_second" json:"per_second"` // events of one user or device
}

// DedupWindow is for how long Amplitude remembers an insert_id of a device.
const DedupWindow = 7 * 24 * time.Hour

// Documented returns the limits the vendors state.
func Documented() Limits {
	return Limits{
		GA4: GA4Limits{
			Body: 130_000, Events: 25, Params: 25, UserProperties: 25, Name: 40, Value: 100, PageTitle: 300, PageReferrer: 420,
			PageLocation: 1000, UserPropertyName: 24, UserPropertyValue: 36, BackDatingHours: 72,
		},
		Heap: HeapLimits{Event: 1024, Identity: 255, Text: 1024, Events: 1000, MinuteIdentity: 1000, MinuteApp: 15_000, SingleRequestsPer30s: 30},
		// "< 1 MB" is said of older versions only. It is kept: a sender that stays below it is safe with both.
		Amplitude: AmplitudeLimits{Body: 1_000_000, Events: 2000, Text: 1024, Depth: 40, ID: 5, PerSecond: 30},
		// The batch endpoint states no number of events.
		AmplitudeBatch: AmplitudeLimits{Body: 20_000_000, Events: Unlimited, Text: 1024, Depth: 40, ID: 5, PerSecond: 1000},
	}
}

// over says whether n goes beyond a limit.
func over(n, limit int) bool { return limit >= 0 && n > limit }

// table is the limits by vendor and name.
func (l Limits) table() map[string]map[string]int {
	var t map[string]map[string]int
	text, err := json.Marshal(l)
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		panic(err) // structs of integers
	}
	return t
}

// complete fills in the documented limits, and returns what differs from them: "heap.minute_app: none instead of 15000".
func (l Limits) complete() (Limits, []string) {
	mine, documented := l.table(), Documented().table()
	differ := []string{}
	for vendor, limits := range mine {
		for name, n := range limits {
			said := documented[vendor][name]
			if n == 0 {
				limits[name] = said
			} else if n = max(n, Unlimited); n != said {
				limits[name] = n
				differ = append(differ, fmt.Sprintf("%s.%s: %s instead of %s", vendor, name, limitText(n), limitText(said)))
			}
		}
	}
	text, err := json.Marshal(mine)
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil {
		panic(err) // as above
	}
	slices.Sort(differ)
	return l, differ
}

func limitText(n int) string {
	if n < 0 {
		return "none"
	}
	return strconv.Itoa(n)
}
