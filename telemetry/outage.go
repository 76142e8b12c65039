package telemetry

import (
	"log/slog"
	"sync"
	"time"
)

// lasting is how long trying again may take before somebody should look.
const lasting = time.Minute

// Outage speaks of something that is tried again until it works, however often that is: as a warning when it begins, as a
// failure once trying again has not mended it for a minute, and when it is over. The zero value is that of something that
// works. It is safe for concurrent use.
type Outage struct {
	mu       sync.Mutex
	since    time.Time // zero: it works
	reported bool
}

// Failed notes a failed attempt. what and tags are as Failure's; what says what does not work.
func (o *Outage) Failed(t *Telemetry, what string, err error, tags ...slog.Attr) {
	o.mu.Lock()
	begins := o.since.IsZero()
	if begins {
		o.since = time.Now()
	}
	report := !o.reported && time.Since(o.since) >= lasting
	o.reported = o.reported || report
	o.mu.Unlock()
	switch {
	case begins:
		t.Log.Warn(what+"; trying again", append([]any{slog.Any("error", err)}, values(tags)...)...)
	case report:
		t.Failure(what, err, tags...)
	}
}

// Over notes an attempt that succeeded; what says what works again.
func (o *Outage) Over(t *Telemetry, what string, tags ...slog.Attr) {
	o.mu.Lock()
	since := o.since
	o.since, o.reported = time.Time{}, false
	o.mu.Unlock()
	if !since.IsZero() {
		t.Log.Info(what, append(values(tags), slog.Duration("after", time.Since(since)))...)
	}
}

func values(tags []slog.Attr) []any {
	args := make([]any, len(tags), len(tags)+1)
	for i, a := range tags {
		args[i] = a
	}
	return args
}
