package sandbox

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/trace/sandbox/scenario"
)

// The page shows scenarios that are accepted, every way to go wrong, every limit, and the defaults as they are.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/sandbox.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllStringSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Error("no scenario is shown")
	}
	for _, b := range blocks {
		if s, err := scenario.Parse([]byte(b[1])); err != nil || len(s.Rules) == 0 {
			t.Errorf("%v in\n%s", err, b[1])
		}
	}
	has := func(want string) {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not on the page", want)
		}
	}
	for _, k := range scenario.Kinds {
		has("| `" + string(k) + "` |")
	}
	for vendor, limits := range Documented().table() {
		has("`" + vendor + "`")
		for name := range limits {
			has("`" + name + "`")
		}
	}
	for _, path := range []string{ga4Collect, ga4Debug, heapTrack, amplitudeHTTP, amplitudeBatch} {
		has(path + "`")
	}
	if n := len(reservedEvents) - 3; n != 27 {
		t.Errorf("%d reserved event names, the page says 27", n)
	}
}
