package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	keeperInterval = 200 * time.Millisecond
	healthInterval = time.Second
	slowestRepair  = 2 * time.Second
)

// keep looks after the journal until Close: it reads how much room there is, keeps the ballast, and puts a new embedded
// server in the place of one that can no longer write.
func (j *Journal) keep() {
	tick := time.NewTicker(keeperInterval)
	defer tick.Stop()
	var checked time.Time // when the server's health was looked at
	for {
		alarmed := false
		select {
		case <-j.ending.Done():
			return
		case <-j.alarm:
			alarmed = true
		case <-tick.C:
		}
		e, _, err := j.engine()
		if errors.Is(err, ErrClosed) {
			return
		}
		if err == nil && (alarmed || time.Since(checked) > healthInterval) {
			checked = time.Now()
			err = e.failure()
		}
		if err != nil {
			if wait := time.Until(j.retryAt()); wait > 0 && e == nil {
				continue
			}
			_ = j.repair(j.ending, e, err) // says itself how it went
			continue
		}
		j.tendBallast()
		_ = j.refresh(j.ending) // a failure is why frames are refused, until the next time
	}
}

// repair puts a new engine in the place of broken (nil: of none), which failed because of cause. If somebody else has
// done so meanwhile, that is fine too.
//
// It does not wait for space to return: without a server that writes, nothing could be trimmed and nothing rolled back.
// As long as the disk is full, frames are refused before they reach it.
func (j *Journal) repair(ctx context.Context, broken *engine, cause error) error {
	if j.folder == nil {
		return cause // a cluster is not ours to restart, and its connection comes back by itself
	}
	j.repairing.Lock()
	defer j.repairing.Unlock()
	now, _, err := j.engine()
	switch {
	case errors.Is(err, ErrClosed):
		return err
	case now != nil && now != broken:
		return nil
	}
	if broken != nil {
		j.o.Telemetry.Failure("the journal stopped writing and is being restarted", cause)
		j.replace(nil, cause)
		broken.stop()
	}
	j.metrics.restarts.Inc()
	j.space.Lock()
	j.space.hold()
	j.space.err = j.roomLocked(0)
	j.space.Unlock()
	if err := j.start(ctx); err != nil {
		j.o.Telemetry.Log.Warn("the journal could not be restarted yet", "error", err)
		return fmt.Errorf("%w: restarting after %q: %w", ErrUnavailable, cause, err)
	}
	j.o.Telemetry.Log.Info("the journal is back", slog.String("after", cause.Error()))
	return j.refresh(ctx)
}

// hold refuses frames for a while from now: a disk that fails at every write must not be restarted over at full speed.
func (s *space) hold() {
	now := time.Now()
	if now.Sub(s.restarted) > time.Minute {
		s.pause = 0
	}
	s.pause = min(slowestRepair, max(100*time.Millisecond, 2*s.pause))
	s.restarted = now
}

// retryAt is when the next repair is due if the last has failed.
func (j *Journal) retryAt() time.Time {
	j.space.Lock()
	defer j.space.Unlock()
	return j.space.restarted.Add(j.space.pause)
}

// tendBallast keeps space back again once there is enough for frames beside it.
func (j *Journal) tendBallast() {
	if j.folder == nil {
		return
	}
	missing := j.o.Ballast - j.folder.ballast.size()
	if missing == 0 {
		return
	}
	n, err := j.folder.free()
	if err != nil || n-missing < j.o.MinFree {
		return
	}
	if err := j.folder.ballast.fill(); err != nil {
		j.o.Telemetry.Log.Warn("space could not be kept back for control records; frames are refused until it can", "error", err)
	}
}
