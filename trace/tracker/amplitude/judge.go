package amplitude

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/sparrowhq/sparrow/trace/tracker"
)

// answer is the vendor's, good or bad.
type answer struct {
	Code      int              `json:"code"`
	Error     string           `json:"error"`
	Missing   string           `json:"missing_field"` // of the request
	Invalid   map[string][]int `json:"events_with_invalid_fields"`
	Absent    map[string][]int `json:"events_with_missing_fields"`
	Lengths   map[string][]int `json:"events_with_invalid_id_lengths"`
	Silenced  []int            `json:"silenced_events"`
	Throttled []int            `json:"throttled_events"`
}

// Judge reads the answer as documented. A good status without the vendor's own words is somebody else's, on the way.
func (v Amplitude) Judge(a *tracker.Answer, n int) tracker.Judgement {
	j := tracker.JudgeStatus(a)
	var said answer
	readable := json.Unmarshal(a.Body, &said) == nil && !a.Cut
	switch {
	case a.Status == http.StatusOK:
		if !readable || said.Code == 0 {
			return tracker.Judgement{Verdict: tracker.Unavailable, Reason: "not the vendor's answer"}
		}
		if said.Code != http.StatusOK {
			return tracker.Judgement{Verdict: tracker.Barred, Reason: "an error under a good status"}
		}
	case a.Status == http.StatusBadRequest && readable:
		return refusal(&said, n)
	case a.Status == http.StatusTooManyRequests && readable:
		if held := within(said.Throttled, n); len(held) > 0 {
			return tracker.Judgement{Verdict: tracker.Partial, Reason: "throttled", Held: held, Hold: v.o.Hold}
		}
	}
	return j
}

// refusal reads a 400. Nothing of the request was taken: the events it names are at fault, the others go again.
func refusal(said *answer, n int) tracker.Judgement {
	reasons := map[int]string{}
	name := func(indexes []int, reason string) {
		for _, i := range within(indexes, n) {
			if reasons[i] == "" {
				reasons[i] = reason
			}
		}
	}
	for _, indexes := range said.Absent {
		name(indexes, "missing field")
	}
	for _, indexes := range said.Lengths {
		name(indexes, "invalid id")
	}
	for _, indexes := range said.Invalid {
		name(indexes, "invalid field")
	}
	name(said.Silenced, "silenced")
	if len(reasons) == 0 {
		if said.Missing == "api_key" || strings.Contains(strings.ToLower(said.Error), "api key") || strings.Contains(strings.ToLower(said.Error), "api_key") {
			return tracker.Judgement{Verdict: tracker.Barred, Reason: "address or credential refused"}
		}
		return tracker.Judgement{Verdict: tracker.Refused, Reason: "refused"}
	}
	j := tracker.Judgement{Verdict: tracker.Partial, Reason: "events refused"}
	for i, reason := range reasons {
		j.Dead = append(j.Dead, tracker.Ruling{Index: i, Reason: reason})
	}
	slices.SortFunc(j.Dead, func(a, b tracker.Ruling) int { return a.Index - b.Index })
	return j
}

// within leaves out indexes that no event has.
func within(indexes []int, n int) (valid []int) {
	for _, i := range indexes {
		if i >= 0 && i < n {
			valid = append(valid, i)
		}
	}
	return valid
}
