package supervisor

import (
	"log/slog"
	"time"
)

// Phase is where in its life a process is.
type Phase string

// The phases of a process.
const (
	Waiting  Phase = "waiting"  // not started yet: others start first
	Starting Phase = "starting" // running, was never ready
	Ready    Phase = "ready"    //
	Unready  Phase = "unready"  // running, was ready before
	Failed   Phase = "failed"   // ended by itself; starts again after a wait
	Stopped  Phase = "stopped"  //
)

// State is what is known about a process.
type State struct {
	Name     string    `json:"name"`
	URL      string    `json:"url"`
	PID      int       `json:"pid"` // 0: not running
	Path     string    `json:"path"`
	Phase    Phase     `json:"phase"`
	Why      string    `json:"why,omitempty"` // not ready, or failed: the reason, as the process gave it
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"` // when the phase began
}

// Event is something an operator may want to know.
type Event struct {
	At      time.Time
	Process string
	Level   slog.Level
	Text    string
}
