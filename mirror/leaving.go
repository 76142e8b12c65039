package mirror

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service"
)

// Bounds of the part of a stop during which nobody is answered if somebody else takes over the listening socket.
const (
	// quietPatience is how long a connection may have been without a request before it is closed without one.
	quietPatience = 500 * time.Millisecond
	// receivePatience is how long requests may still arrive that have begun to.
	receivePatience = 2 * time.Second
	// callPatience is how long calls to the stacks may still run. What a call that was cut may have done is asked for by
	// whoever runs the feed next.
	callPatience = time.Second
)

// answer serves clients until ctx ends. Then it leaves without refusing or cutting anybody who is under way:
//
//	still accepting, each answer ends its connection        Drain, or until nobody is connected
//	listener closed; those under way are answered           quietPatience, receivePatience; at most Grace
//
// The listener may be a copy of a socket that a supervisor or systemd holds: then connections made from now on wait in it
// for the next process.
func (m *Mirror) answer(ctx context.Context, server *http.Server, l *limited, closing func()) error {
	stop, shut := context.WithCancel(context.WithoutCancel(ctx))
	defer shut()
	left := make(chan struct{})
	go func() { // ends before answer does
		defer close(left)
		select {
		case <-ctx.Done():
		case <-stop.Done():
			return
		}
		m.drain(l)
		l.stop()
		closing()
		began := time.Now()
		for l.hurry(quietPatience, time.Since(began) > receivePatience) > 0 && time.Since(began) < m.o.Grace {
			time.Sleep(5 * time.Millisecond) // between looks
		}
		shut() // only now: Shutdown drops requests that it is just reading
	}()
	if m.certificate != nil { // net/http alone, which chooses between HTTP/1.1 and HTTP/2
		err := service.Run(stop, server, l, m.o.Grace)
		shut()
		<-left
		return err
	}
	m.front = newFront(l, m.intake, m.o.Intake)
	err := service.Run(stop, server, m.front, m.o.Grace)
	shut()
	<-left
	return errors.Join(err, m.front.cut())
}

// openPatience is how long clients wait in the listener's queue for the journal to be opened, before they are told 503.
const openPatience = 2 * time.Second

// holdUp waits until ready is closed, so that a restart costs clients a moment and not a refusal.
func (m *Mirror) holdUp(ctx context.Context, ready <-chan struct{}) {
	patience := time.NewTimer(openPatience)
	defer patience.Stop()
	select {
	case <-ready:
	case <-patience.C:
	case <-ctx.Done():
	}
}

// drain has clients move on by themselves.
func (m *Mirror) drain(l *limited) {
	m.intake.leaving.Store(true)
	if m.o.Intake.Drain <= 0 {
		return
	}
	until := time.NewTimer(m.o.Intake.Drain)
	defer until.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for l.current.Load() > 0 {
		select {
		case <-tick.C:
		case <-until.C:
			return
		}
	}
}

// server is the clients' HTTP server.
func (m *Mirror) server(l *limited) *http.Server {
	o := m.o.Intake
	s := &http.Server{
		Handler:        m.intake,
		ReadTimeout:    o.ReadTimeout, // of headers too; bodies are given more as they grow
		WriteTimeout:   2 * time.Minute,
		IdleTimeout:    o.IdleTimeout,
		MaxHeaderBytes: o.MaxHeader,
		// "OPTIONS *" would be answered 200, and a 2xx is a promise here.
		DisableGeneralOptionsHandler: true,
		Protocols:                    new(http.Protocols),
		ErrorLog:                     quiet,
		ConnState:                    l.state,
		ConnContext:                  l.context,
	}
	s.Protocols.SetHTTP1(true)
	if m.certificate != nil {
		s.TLSConfig = m.certificate.config()
		s.Protocols.SetHTTP2(true)
		// What is received before the intake asks for it is outside its budget: little of it.
		s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 64, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10}
	}
	return s
}

// listen puts the bound on connections before the clients' listener.
func (m *Mirror) listen(clients net.Listener) *limited {
	m.reloading.Lock()
	defer m.reloading.Unlock()
	l := newLimited(clients, m.intake.rules.Load().options.MaxConnections, m.certificate != nil, func() {
		m.intake.metrics.requests.WithLabelValues("503", "connections").Inc()
	}, func(what string) {
		m.intake.metrics.unreadable.WithLabelValues(what).Inc()
	})
	m.listening.Store(l)
	return l
}

// Farewell begins the line in which a mirror that stops gives account of what is left for next time.
const Farewell = "left for next time: "

// farewell says what is left for next time.
func (m *Mirror) farewell(ctx context.Context, o *opened) {
	text := strings.Builder{}
	fmt.Fprintf(&text, "%saccepted %d", Farewell, o.ledger.accepted().Requests)
	for _, name := range event.Stacks() {
		e, p, c, err := o.equation(ctx, o.feeds[name])
		if err != nil {
			fmt.Fprintf(&text, "; %s not counted", name)
			m.o.Telemetry.Log.Warn("stopping; what is left was not counted", "stack", string(name), "error", err)
			continue
		}
		fmt.Fprintf(&text, "; %s %d pending", name, e.Pending)
		if p.OldestAt > 0 {
			fmt.Fprintf(&text, ", the oldest for %s", time.Since(time.UnixMicro(p.OldestAt)).Round(time.Second))
		}
		m.o.Telemetry.Log.Info("stopping", "stack", string(name), "cursor", c.String(), "accepted", e.Accepted, "delivered", e.Delivered,
			"pending", e.Pending, "dead", e.Dead, "expired", e.Expired, "sampled", e.Sampled, "ok", e.OK)
	}
	m.o.Telemetry.Log.Info(text.String())
}
