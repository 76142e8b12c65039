package mirror

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

func TestGathering(t *testing.T) {
	o := FeedOptions{MaxBytes: 1000, Gather: 1, Linger: 2}
	for name, c := range map[string]struct {
		stack stack
		d     delivery
		bytes int
		want  time.Duration
	}{
		"few":                             {d: delivery{requests: dense - 1, bytes: 10}, bytes: 1000, want: 1},
		"many":                            {d: delivery{requests: dense, bytes: 10}, bytes: 1000, want: 2},
		"more is waiting":                 {d: delivery{requests: dense, bytes: 10, full: true}, bytes: 1000, want: 1},
		"half of the bound":               {d: delivery{requests: dense, bytes: 500}, bytes: 1000, want: 1},
		"half of a bound that has shrunk": {d: delivery{requests: dense, bytes: 50}, bytes: 100, want: 1},
		"request by request":              {stack: stack{web: &web{}}, d: delivery{requests: dense, bytes: 10}, bytes: 1000, want: 1},
	} {
		f := &feed{o: o, stack: &c.stack, bytes: c.bytes}
		if got := f.gatherFor(&c.d); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// While a feed lingers control records do not wait, and it stops at once.
func TestControlRecordDoesNotLinger(t *testing.T) {
	b := setUp(t, func(o *Options) { o.Feed.Linger = time.Hour })
	sent := make(chan struct{})
	release := sync.OnceFunc(func() { close(sent) })
	defer release()
	for _, s := range []*rig{b.green, b.blue} {
		s.script(func(_ http.ResponseWriter, _ *http.Request, d *event.Delivery) bool {
			if d != nil && len(d.Frames) > 0 {
				<-sent // so that the next delivery is dense
			}
			return false
		})
	}
	b.send(5*dense, 8)
	release()
	b.green.has(dense)
	b.blue.has(dense)
	r := b.control(event.Candidate, event.Green, 0)
	for _, s := range []*rig{b.green, b.blue} {
		s.until("the record", func() bool { return s.controls[r.Sequence] != nil })
	}
}
