package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// backend stands where a stack stands. It takes plain requests and frames, remembers the number of each body it got,
// and can be told to misbehave.
type backend struct {
	stack event.Stack

	mu     sync.Mutex
	seen   set
	cursor event.Cursor
	fault  string
	lifted chan struct{} // closed when the fault ends
}

// runBackend serves two addresses: one takes traffic, the other orders.
func runBackend(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("backend", flag.ContinueOnError)
	stack := f.String("stack", "green", "")
	listen := f.String("listen", "", "")
	orders := f.String("orders", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	b := &backend{stack: event.Stack(*stack), lifted: make(chan struct{})}
	go func() {
		<-ctx.Done()
		os.Exit(0)
	}()
	control := http.NewServeMux()
	traffic := &door{addr: *listen, handler: b}
	if err := traffic.open(); err != nil {
		return err
	}
	control.HandleFunc("PUT /fault", func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		if b.fault = r.URL.Query().Get("mode"); b.fault == "" {
			close(b.lifted) // as a process that is stopped, and goes on: it takes what it hung on
			b.lifted = make(chan struct{})
		}
		b.mu.Unlock()
		var err error
		if b.fault == "refuse" {
			traffic.close()
		} else {
			err = traffic.open()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	control.HandleFunc("GET /seen", func(w http.ResponseWriter, _ *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		binary.Write(w, binary.LittleEndian, []uint64{b.seen.n, b.seen.more})
		binary.Write(w, binary.LittleEndian, b.seen.bits)
	})
	control.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		fmt.Fprintln(w, b.seen.n)
	})
	return http.ListenAndServe(*orders, control)
}

// door is a listener that can be shut and opened again on the same address.
type door struct {
	addr    string
	handler http.Handler
	srv     *http.Server
}

func (d *door) open() error {
	if d.srv != nil {
		return nil
	}
	l, err := net.Listen("tcp", d.addr)
	if err != nil {
		return err
	}
	d.srv = &http.Server{Handler: d.handler}
	go d.srv.Serve(l)
	return nil
}

func (d *door) close() {
	if d.srv != nil {
		d.srv.Close()
		d.srv = nil
	}
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	fault, lifted := b.fault, b.lifted
	b.mu.Unlock()
	if r.URL.Path == "/v1/cursors" && fault == "" {
		b.answerCursors(w)
		return
	}
	switch fault {
	case "slow":
		time.Sleep(100 * time.Millisecond)
	case "hang":
		select {
		case <-lifted:
		case <-r.Context().Done():
			return
		}
	case "reset":
		reset(w)
		return
	case "trickle":
		trickle := &trickle{ReadCloser: r.Body, lifted: lifted, gone: r.Context().Done()}
		r.Body = trickle
	case "500":
		http.Error(w, "broken", http.StatusInternalServerError)
		return
	}
	var err error
	switch r.URL.Path {
	case "/v1/cursors":
		b.answerCursors(w)
		return
	case "/v1/frames":
		err = b.frames(w, r)
	default:
		err = b.plain(w, r)
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (b *backend) plain(w http.ResponseWriter, r *http.Request) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	id, err := idOf(data)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.seen.add(id)
	b.mu.Unlock()
	_, err = w.Write([]byte("OK"))
	return err
}

func (b *backend) frames(w http.ResponseWriter, r *http.Request) error {
	data := make([]byte, max(0, r.ContentLength))
	if _, err := io.ReadFull(r.Body, data); err != nil {
		return err
	}
	d, err := event.DecodeDelivery(data)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if d.From().Compare(b.cursor) > 0 && b.cursor != (event.Cursor{}) {
		b.mu.Unlock()
		w.WriteHeader(http.StatusConflict)
		b.answerCursor(w)
		return nil
	}
	for _, f := range d.Frames {
		frame, err := event.DecodeFrame(f.Data)
		if err != nil {
			b.mu.Unlock()
			return err
		}
		for i, req := range frame.Requests {
			if b.cursor.Covers(f.Sequence, uint32(i)) || !d.Contains(f.Sequence, uint32(i)) {
				continue
			}
			id, err := idOf(req.Body)
			if err != nil {
				b.mu.Unlock()
				return err
			}
			b.seen.add(id)
		}
	}
	if d.To().Compare(b.cursor) > 0 {
		b.cursor = d.To()
	}
	b.mu.Unlock()
	b.answerCursor(w)
	return nil
}

func (b *backend) answerCursor(w http.ResponseWriter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"cursor": b.cursor, "stack": b.stack, "build": event.Build{ID: "peers", Version: "peers"}})
}

func (b *backend) answerCursors(w http.ResponseWriter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"stack": b.stack, "build": event.Build{ID: "peers", Version: "peers"},
		"journals": []any{}, "stages": map[string]event.Cursor{"raw": b.cursor}})
}

// trickle gives a byte a second until the fault is lifted, or the client is gone.
type trickle struct {
	io.ReadCloser
	lifted, gone <-chan struct{}
}

func (t *trickle) Read(p []byte) (int, error) {
	select {
	case <-t.lifted:
		return t.ReadCloser.Read(p)
	default:
	}
	tick := time.NewTimer(time.Second)
	defer tick.Stop()
	select {
	case <-tick.C:
		p = p[:min(len(p), 1)]
	case <-t.lifted:
	case <-t.gone:
		return 0, io.ErrUnexpectedEOF
	}
	return t.ReadCloser.Read(p)
}

// reset closes the connection with an RST.
func reset(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}
