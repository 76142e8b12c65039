package ga4

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sparrowhq/sparrow/trace/tracker"
)

// Check makes a request to the validation endpoint: the same, and strict. The credential goes along: the endpoint does
// not look at it, but wants it.
func (GA4) Check(c tracker.Credential, forms []*tracker.Form, r *tracker.Request) bool {
	address := c.Check
	if address == "" {
		u, err := url.Parse(c.URL)
		if err != nil || !strings.HasSuffix(u.Path, "/mp/collect") {
			return false
		}
		u.Path = strings.TrimSuffix(u.Path, "/mp/collect") + "/debug/mp/collect"
		address = u.String()
	}
	assemble(address, c, `,"validation_behavior":"ENFORCE_RECOMMENDATIONS"`, forms, r)
	return true
}

// Messages reads {"validationMessages":[{"fieldPath","description","validationCode"}]}; none means valid.
func (GA4) Messages(a *tracker.Answer) ([]tracker.Warning, error) {
	var answer struct {
		Messages *[]struct {
			Path        string `json:"fieldPath"`
			Description string `json:"description"`
			Code        string `json:"validationCode"`
		} `json:"validationMessages"`
	}
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("ga4: the validation endpoint answered %d", a.Status)
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil || answer.Messages == nil {
		return nil, fmt.Errorf("ga4: the validation endpoint's answer is no list of messages")
	}
	var warnings []tracker.Warning
	for _, m := range *answer.Messages {
		warnings = append(warnings, tracker.Warning{Code: m.Code, Field: withoutIndexes(m.Path), Text: m.Description})
	}
	return warnings, nil
}

// withoutIndexes turns "events[0].params" into "events.params": messages are counted by field, not by event.
func withoutIndexes(path string) string {
	var b strings.Builder
	depth := 0
	for _, c := range path {
		switch {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		case depth == 0:
			b.WriteRune(c)
		}
	}
	return b.String()
}
