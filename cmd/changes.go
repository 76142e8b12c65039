package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/mirror"
)

// changes are what a running `sparrow up` is asked for by signals:
//
//	SIGHUP   follow the settings again, all of what changed or nothing
//	SIGUSR2  run the mirror anew, from the executable that now stands where ours was
type changes struct {
	hangups, upgrades <-chan os.Signal
	stop              func()
}

func (u *installed) followChanges(ctx context.Context, asked changes) {
	select {
	case <-u.ready: // what is asked for before waits
	case <-ctx.Done():
		return
	}
	for {
		select {
		case <-asked.hangups:
			if u.terminalGone() {
				asked.stop()
				continue
			}
			if err := u.reload(ctx); err != nil {
				u.say("the settings were not reloaded: %v", err)
			}
		case <-asked.upgrades:
			if err := u.upgradeMirror(ctx); err != nil {
				u.say("the mirror was not replaced: %v", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// terminalGone reports whether we were started on a terminal that is closed now: that is what a hangup meant first.
func (u *installed) terminalGone() bool {
	f, ok := u.screen.Out.(*os.File)
	return ok && u.screen.Terminal && !term.IsTerminal(int(f.Fd()))
}

// reload follows the settings again. Only the mirror has some that can change while it runs; if others changed, nothing
// is.
func (u *installed) reload(ctx context.Context) error {
	u.swapping.Lock()
	defer u.swapping.Unlock()
	next, err := u.p.upSettings(u.flags)
	if err != nil {
		return err
	}
	changed := config.Changed(u.asked, next)
	if err := config.Live(changed, false); err != nil {
		return err
	}
	// What the mirror would refuse is found before anything is written down.
	o, err := intakeOptions(next)
	if err != nil {
		return err
	}
	if err := mirror.CheckIntake(o); err != nil {
		return err
	}
	settings := filepath.Join(u.dir, "settings.yaml")
	before := u.config
	after := before
	after.Take(next, changed)
	if err := after.WriteSnapshot(settings); err != nil {
		return err
	}
	err = u.askMirror(ctx)
	var unreached net.Error
	switch {
	case errors.As(err, &unreached):
		u.say("the mirror does not answer; it will follow the settings when it starts again")
	case err != nil:
		return errors.Join(err, before.WriteSnapshot(settings))
	}
	u.config.Take(next, changed)
	u.asked = next
	if len(changed) == 0 {
		u.say("settings reloaded: none has changed")
	} else {
		u.say("settings reloaded: %s", strings.Join(changed, ", "))
	}
	return nil
}

// askMirror has the mirror read its settings again. For a while it tries again if the mirror is not there, since it may
// be starting.
func (u *installed) askMirror(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		err := postJSON(ctx, u.operator, reach(u.config.Admin.Listen)+"/v1/reload", struct{}{}, new(reloadAnswer))
		var unreached net.Error
		if err == nil || !errors.As(err, &unreached) {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// upgradeMirror runs the mirror anew, from what now stands at the path of our executable. Its addresses stay bound: who
// connects meanwhile waits. If the new one does not get ready, the old one runs again.
func (u *installed) upgradeMirror(ctx context.Context) error {
	u.swapping.Lock()
	defer u.swapping.Unlock()
	sha, err := u.builds.Add(u.own)
	if err != nil {
		return err
	}
	version, err := probe(u.builds.Path(sha))
	if err != nil {
		return fmt.Errorf("%s %w", u.own, err)
	}
	ctx, cancel := context.WithTimeout(ctx, swapTime)
	defer cancel()
	began := time.Now()
	if err := u.s.Replace(ctx, mirrorName, u.builds.Path(sha), func() error { return nil }); err != nil {
		return err
	}
	before := u.mirrorSHA
	u.mirrorSHA = sha
	if err := u.builds.Prune(u.ownSHA, sha, before); err != nil {
		u.telemetry.Log.Warn("old builds are kept", "error", err)
	}
	u.say("the mirror was replaced within %s and runs %s", time.Since(began).Round(time.Millisecond), version)
	return nil
}
