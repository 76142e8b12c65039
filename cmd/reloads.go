package cmd

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sparrowhq/sparrow/cmd/config"
	"github.com/sparrowhq/sparrow/mirror"
	"github.com/sparrowhq/sparrow/service"
)

// reloads has a running mirror follow its settings again: on SIGHUP, and on POST /v1/reload of the admin API, which is
// how `sparrow up` asks. All that changed is taken, or nothing.
type reloads struct {
	process  *process
	take     func(mirror.IntakeOptions, config.Config) error // all of it, or an error
	outcomes *prometheus.CounterVec
	last     prometheus.Gauge

	mu sync.Mutex // one reload at a time; guards process.config
}

type reloadAnswer struct {
	Changed []string `json:"changed"` // settings, by their keys; the certificate's content is not among them
}

func (r *reloads) register() {
	r.outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sparrow_mirror_reloads_total",
		Help: "Reloads of the settings, by outcome: applied, or refused, which changes nothing."}, []string{"outcome"})
	r.last = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sparrow_mirror_reload_ok",
		Help: "0 if the last reload of the settings was refused, so that what runs is not what is written down."})
	r.last.Set(1)
	for _, outcome := range []string{"applied", "refused"} {
		r.outcomes.WithLabelValues(outcome)
	}
	r.process.telemetry.Registry.MustRegister(r.outcomes, r.last)
}

// follow reloads at each SIGHUP until ctx ends.
func (r *reloads) follow(ctx context.Context) {
	for {
		select {
		case <-r.process.hangups:
			r.reload()
		case <-ctx.Done():
			return
		}
	}
}

// reload returns the keys of the settings that changed.
func (r *reloads) reload() (changed []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed, err = r.apply()
	if err != nil {
		r.last.Set(0)
		r.outcomes.WithLabelValues("refused").Inc()
		r.process.telemetry.Log.Error("the settings were not reloaded: everything is as before", "error", err)
		return nil, err
	}
	r.last.Set(1)
	r.outcomes.WithLabelValues("applied").Inc()
	r.process.telemetry.Log.Info("settings reloaded", "changed", strings.Join(changed, ", "))
	return changed, nil
}

func (r *reloads) apply() ([]string, error) {
	next, err := r.process.again()
	if err != nil {
		return nil, err
	}
	changed := config.Changed(r.process.config, next)
	if err := config.Live(changed, true); err != nil {
		return nil, err
	}
	o, err := intakeOptions(next)
	if err != nil {
		return nil, err
	}
	if err := r.take(o, next); err != nil {
		return nil, err
	}
	r.process.config = next
	return changed, nil
}

// post answers POST /v1/reload: 200 {"changed": [keys]}, or 409 with "settings" if those take a restart.
func (r *reloads) post(w http.ResponseWriter, _ *http.Request) {
	changed, err := r.reload()
	var restart *config.RestartError
	switch {
	case errors.As(err, &restart):
		service.ProblemWith(w, http.StatusConflict, err.Error(), map[string]any{"settings": restart.Settings})
	case err != nil:
		service.Problem(w, http.StatusConflict, err.Error())
	default:
		service.JSON(w, reloadAnswer{Changed: append([]string{}, changed...)})
	}
}
