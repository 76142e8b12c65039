package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sparrowhq/sparrow/cmd/builds"
	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

// The supervisor's own API, for commands on the same machine. It is authenticated like every hop between our own
// processes.
//
//	GET  /v1/processes → {"processes": [supervisor.State…]}
//	POST /v1/candidate   {"binary": PATH} → {"stack", "build": {"id","version"}}
//	POST /v1/pipeline    {"stack", "file": PATH, "force": BOOL} → {"stack", "role", "build", "before"}

func controlFile(dir string) string { return filepath.Join(dir, "supervisor.json") }

type controlAddress struct {
	URL string `json:"url"`
	PID int    `json:"pid"`
}

type swapRequest struct {
	Binary string `json:"binary"` // absolute path on this machine
}

type swapAnswer struct {
	Stack event.Stack `json:"stack"`
	Build event.Build `json:"build"` // as the dispatcher now reports it
}

// swapTime bounds how long a candidate may take to become ready.
const swapTime = time.Minute

func (u *installed) serveControl(ctx context.Context) {
	address, err := json.Marshal(controlAddress{URL: "http://" + u.control.Addr().String(), PID: os.Getpid()})
	if err == nil {
		err = service.WriteFile(controlFile(u.dir), append(address, '\n'), 0o600)
	}
	if err != nil {
		u.say("commands on this machine will not reach the supervisor: %v", err)
	}
	r := service.Router(u.telemetry, func() []error { return nil })
	ours := r.PathPrefix("/v1").Subrouter()
	ours.Use(service.Authenticated(u.secret))
	ours.HandleFunc("/processes", func(w http.ResponseWriter, _ *http.Request) {
		service.JSON(w, map[string]any{"processes": u.s.States()})
	}).Methods(http.MethodGet)
	ours.HandleFunc("/candidate", u.postCandidate).Methods(http.MethodPost)
	ours.HandleFunc("/pipeline", u.postPipeline).Methods(http.MethodPost)
	if err := service.Serve(ctx, u.telemetry, u.control, r, 2*time.Second); err != nil {
		u.say("%v", err)
	}
}

func (u *installed) postCandidate(w http.ResponseWriter, r *http.Request) {
	var req swapRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&req); err != nil || !filepath.IsAbs(req.Binary) {
		service.Problem(w, http.StatusBadRequest, `want {"binary": "/absolute/path"}`)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), swapTime)
	defer cancel()
	answer, err := u.swapCandidate(ctx, req.Binary)
	if err != nil {
		service.Problem(w, http.StatusConflict, err.Error())
		return
	}
	service.JSON(w, answer)
}

// swapCandidate runs another binary as the candidate's dispatcher and trace. If one does not get ready, or the stack
// becomes live meanwhile, everything is as before.
func (u *installed) swapCandidate(ctx context.Context, binary string) (swapAnswer, error) {
	u.swapping.Lock()
	defer u.swapping.Unlock()
	stack, err := u.candidate(ctx)
	if err != nil {
		return swapAnswer{}, err
	}
	if err := u.ours(stack); err != nil {
		return swapAnswer{}, err
	}
	before, err := u.builds.Choices()
	if err != nil {
		return swapAnswer{}, err
	}
	sha, err := u.builds.Add(binary)
	if err != nil {
		return swapAnswer{}, err
	}
	version, err := probe(u.builds.Path(sha))
	if err != nil {
		return swapAnswer{}, fmt.Errorf("%s %w", binary, err)
	}
	still := func() error {
		// The old one is gone now, so it can no longer be cut over to; it could have been until a moment ago.
		switch now, err := u.candidate(ctx); {
		case err != nil:
			return err
		case now != stack:
			return fmt.Errorf("stack %s became live while its binary was to be replaced: nothing was changed", stack)
		}
		return nil
	}
	// The dispatcher goes first: what it takes in meanwhile waits for a trace of the same build.
	if err := u.s.Replace(ctx, dispatcherName(stack), u.builds.Path(sha), still); err != nil {
		return swapAnswer{}, err
	}
	if err := u.s.Replace(ctx, traceName(stack), u.builds.Path(sha), still); err != nil {
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), swapTime)
		defer cancel()
		undone := u.s.Replace(back, dispatcherName(stack), u.builds.Path(before[stack].SHA256), func() error { return nil })
		return swapAnswer{}, errors.Join(err, undone)
	}
	choice := builds.Choice{SHA256: sha, Origin: builds.Deploy, From: binary, Setting: u.config.Stacks.Of(stack).Build}
	if err := u.builds.Remember(stack, choice); err != nil {
		return swapAnswer{}, fmt.Errorf("stack %s runs %s, but the next `sparrow up` will not know it: %w", stack, binary, err)
	}
	if err := u.builds.Prune(u.ownSHA, u.mirrorSHA, before[stack].SHA256); err != nil {
		u.telemetry.Log.Warn("old builds are kept", "error", err)
	}
	u.setVersion(stack, version)
	u.say("%s runs %s, from %s", stack, version, binary)
	build, err := u.runningBuild(ctx, stack)
	return swapAnswer{Stack: stack, Build: build}, err
}

// candidate asks the mirror which stack is not live.
func (u *installed) candidate(ctx context.Context) (event.Stack, error) {
	st, err := compare.Server{URL: reach(u.config.Admin.Listen), HTTP: u.operator}.Status(ctx)
	if err != nil {
		return "", fmt.Errorf("which stack is the candidate, the mirror does not say: %w", err)
	}
	return st.Live.Other(), nil
}

// ours returns an error if a stack is a service that runs by itself.
func (u *installed) ours(stack event.Stack) error {
	if s := u.config.Stacks.Of(stack); s.Service() {
		return fmt.Errorf("stack %s is a service of your own at %s (protocol http): start its new build there, then declare it with `sparrow deploy candidate`", stack, s.URL)
	}
	return nil
}

// runningBuild asks a stack's dispatcher which build it is.
func (u *installed) runningBuild(ctx context.Context, stack event.Stack) (event.Build, error) {
	var answer struct {
		Build event.Build `json:"build"`
	}
	err := getJSON(ctx, u.internal, u.config.Stacks.Of(stack).URL+"/v1/cursors", &answer)
	return answer.Build, err
}
