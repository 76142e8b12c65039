package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/sparrowhq/sparrow/cmd/pipelines"
	"github.com/sparrowhq/sparrow/compare"
	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

type pipelineRequest struct {
	Stack event.Stack `json:"stack"` // empty: the candidate
	File  string      `json:"file"`  // absolute path on this machine; empty: the one of the settings
	Force bool        `json:"force"` // although the stack is live
}

type pipelineAnswer struct {
	Stack  event.Stack `json:"stack"`
	Live   bool        `json:"live"`
	File   string      `json:"file"`   // empty: the binary's own
	Build  event.Build `json:"build"`  // as the dispatcher now reports it
	Before event.Build `json:"before"` //
}

// errLive says that a live stack's pipeline is not changed by the way.
var errLive = errors.New("is live: what it sends would change without a verdict. Load the file into the candidate and cut over to it; or use --force with a --reason, which stays visible in the history")

func (u *installed) postPipeline(w http.ResponseWriter, r *http.Request) {
	var req pipelineRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&req); err != nil || req.File != "" && !filepath.IsAbs(req.File) {
		service.Problem(w, http.StatusBadRequest, `want {"stack": "green", "file": "/absolute/path", "force": false}`)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), swapTime)
	defer cancel()
	answer, err := u.loadPipeline(ctx, req)
	if err != nil {
		service.Problem(w, http.StatusConflict, err.Error())
		return
	}
	service.JSON(w, answer)
}

// loadPipeline makes both halves of a stack go on with the pipeline in a file, without a restart unless its trackers change. If one cannot, both
// have the old one again.
func (u *installed) loadPipeline(ctx context.Context, req pipelineRequest) (pipelineAnswer, error) {
	u.swapping.Lock()
	defer u.swapping.Unlock()
	candidate, err := u.candidate(ctx)
	if err != nil {
		return pipelineAnswer{}, err
	}
	stack := req.Stack
	if stack == "" {
		stack = candidate
	}
	if _, err := event.ParseStack(string(stack)); err != nil {
		return pipelineAnswer{}, err
	}
	answer := pipelineAnswer{Stack: stack, Live: stack != candidate}
	if err := u.ours(stack); err != nil {
		return answer, err
	}
	if answer.Live && !req.Force {
		return answer, fmt.Errorf("%s %w", stack, errLive)
	}
	all, err := u.pipelines.Choices()
	if err != nil {
		return answer, err
	}
	before := all[stack]
	file := req.File
	if file == "" {
		file = before.From
	}
	choice, err := u.pipelines.Add(file)
	if err != nil {
		return answer, err
	}
	// At the next start the settings' file is another one than the one loaded last only if somebody changed the settings.
	choice.From, answer.File = before.From, file
	if answer.Before, err = u.runningBuild(ctx, stack); err != nil {
		return answer, fmt.Errorf("stack %s does not say which build it is: %w", stack, err)
	}
	if err := u.switchPipeline(ctx, stack, choice); err != nil {
		back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return answer, errors.Join(fmt.Errorf("stack %s goes on with the pipeline it had: %w", stack, err), u.switchPipeline(back, stack, before))
	}
	if err := u.pipelines.Remember(stack, choice); err != nil {
		return answer, fmt.Errorf("stack %s runs %s, but the next `sparrow up` will not know it: %w", stack, file, err)
	}
	if answer.Build, err = u.runningBuild(ctx, stack); err != nil {
		return answer, err
	}
	u.say("%s goes on with the pipeline of %s, as build %s", stack, fileText(file), compare.ShortBuild(answer.Build.ID))
	return answer, nil
}

func fileText(file string) string {
	if file == "" {
		return "its binary"
	}
	return file
}

// switchPipeline writes the settings with another pipeline for a stack, so that a restart finds it, and tells its two
// processes: trace first, since it is the one that may refuse.
func (u *installed) switchPipeline(ctx context.Context, stack event.Stack, c pipelines.Choice) error {
	u.config.Stacks.Of(stack).Trace.Pipeline = u.pipelines.Path(c)
	if err := u.config.WriteSnapshot(settingsFile(u.dir)); err != nil {
		return err
	}
	s := u.config.Stacks.Of(stack)
	var trace, dispatcher event.Build
	err := postJSON(ctx, u.internal, s.Trace.URL+"/v1/reload", struct{}{}, &trace)
	if refused := new(refusal); errors.As(err, &refused) && refused.status == http.StatusUnprocessableEntity {
		return u.restart(ctx, stack) // another set of trackers: only a new process can have it
	}
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	if err := postJSON(ctx, u.internal, s.URL+"/v1/reload", struct{}{}, &dispatcher); err != nil {
		return fmt.Errorf("dispatcher: %w", err)
	}
	if trace.ID != dispatcher.ID {
		return fmt.Errorf("trace is now build %.12s, the dispatcher %.12s: they must agree", trace.ID, dispatcher.ID)
	}
	return nil
}

// restart starts a stack's two processes again, with the settings as they are now.
func (u *installed) restart(ctx context.Context, stack event.Stack) error {
	for _, name := range []string{traceName(stack), dispatcherName(stack)} {
		for _, s := range u.s.States() {
			if s.Name != name {
				continue
			}
			if err := u.s.Replace(ctx, name, s.Path, func() error { return nil }); err != nil {
				return err
			}
		}
	}
	return nil
}

// reloader answers POST /v1/reload in a process of a stack, authenticated, with the build it then is; everything else
// goes to next.
func reloader(secret string, next http.Handler, reload func(context.Context) (event.Build, error)) http.Handler {
	handler := service.Authenticated(secret)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		build, err := reload(r.Context())
		if err != nil {
			service.Problem(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		service.JSON(w, build)
	}))
	mux := http.NewServeMux()
	mux.Handle("POST /v1/reload", handler)
	mux.Handle("/", next)
	return mux
}
