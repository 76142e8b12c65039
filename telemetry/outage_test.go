package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What is tried again is a warning once, an error once if trying again does not mend it, and nothing else however often it
// is tried; the next time it begins anew.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tel, err := New(Options{Process: "trace", Output: &log})
		if err != nil {
			t.Fatal(err)
		}
		var o Outage
		said := func(when, want string) {
			t.Helper()
			var got []string
			for line := range strings.Lines(log.String()) {
				_, line, _ = strings.Cut(line, "level=")
				level, rest, _ := strings.Cut(line, " ")
				_, rest, _ = strings.Cut(rest, `msg="`)
				what, _, _ := strings.Cut(rest, `"`)
				got = append(got, level+" "+what)
			}
			log.Reset()
			if have := strings.Join(got, ", "); have != want {
				t.Errorf("%s: %q, want %q", when, have, want)
			}
		}
		try := func(times int) {
			for n := range times {
				o.Failed(tel, "it fails", fmt.Errorf("reason %d", n))
				time.Sleep(time.Second)
			}
		}
		o.Over(tel, "it works again")
		said("what never failed", "")
		for round := range 2 {
			try(1)
			said("the first time", "WARN it fails; trying again")
			try(59)
			said("for less than a minute", "")
			try(1)
			said("after a minute", "ERROR it fails")
			try(100)
			said("and longer", "")
			o.Over(tel, "it works again")
			o.Over(tel, "it works again")
			said(fmt.Sprint("over, round ", round), "INFO it works again")
		}
		o.Failed(tel, "it fails", errors.New("x"))
		o.Over(tel, "it works again")
		said("a short one", "WARN it fails; trying again, INFO it works again")
	})
}
