package mirror

import (
	"encoding/json"
	"testing"

	"github.com/sparrowhq/sparrow/event"
)

// A dispatcher that was ahead of its trace when that died needs what trace lacks, whatever raw has.
func TestAFeedGoesOnAtTheLowestStage(t *testing.T) {
	for text, want := range map[string]event.Cursor{
		`{"stages":{"raw":{"frame":7,"request":3}}}`:                                 {Frame: 7, Request: 3},
		`{"stages":{"raw":{"frame":7,"request":3},"trace":{"frame":7,"request":1}}}`: {Frame: 7, Request: 1},
		`{"stages":{"raw":{"frame":7},"trace":{"frame":9}}}`:                         {Frame: 7},
		`{"stages":{"raw":{"frame":0,"request":0},"trace":{"frame":9}}}`:             {},
		`{"stages":{}}`: {},
	} {
		var c cursors
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if got := c.lowest(); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
