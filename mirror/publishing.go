package mirror

import (
	"time"

	"github.com/sparrowhq/sparrow/telemetry"
)

// publishing watches what becomes of frames. It is called by the committer alone.
type publishing struct {
	telemetry *telemetry.Telemetry
	metrics   *intakeMetrics
	failing   bool
}

// done is told of each batch once its fate is known.
func (p *publishing) done(b *batch, took time.Duration) {
	if b.err == nil {
		p.metrics.commit.Observe(took.Seconds())
		p.metrics.frameRequests.Observe(float64(b.totals.Requests))
		p.metrics.frameBytes.Observe(float64(len(b.frame)))
	}
	switch {
	case b.err != nil && !p.failing:
		p.telemetry.Failure("the journal takes no frames; clients are answered 503", b.err)
	case b.err == nil && p.failing:
		p.telemetry.Log.Info("the journal takes frames again", "sequence", b.sequence)
	}
	p.failing = b.err != nil
}
