package tracker_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/service/reserve"
	"github.com/sparrowhq/sparrow/trace/sandbox"
	"github.com/sparrowhq/sparrow/trace/tracker"
	"github.com/sparrowhq/sparrow/trace/tracker/heap"
)

// An attempt that never got as far as the vendor is none: however often nobody listened, the event was sent once.
func TestWhatNobodyHeardWasNotSent(t *testing.T) {
	v := startVendors(t, sandbox.Options{Limits: lifted()})
	address := reserve.ForTest(t)
	to := v.credentials(sandbox.Heap)
	for sink, c := range to {
		c.URL = strings.Replace(c.URL, v.url, "http://"+address, 1)
		to[sink] = c
	}
	s := startSender(t, tracker.Options{Vendor: heap.New(), Credentials: to, NoPacing: true})
	s.send(items(20, 4, tracker.Production)...)
	until(t, "nobody was there several times", func() bool { return s.Status().Sinks[tracker.Production].Failures >= 3 })
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	vendor, err := url.Parse(v.url)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: httputil.NewSingleHostReverseProxy(vendor)}
	go server.Serve(l)
	defer server.Close()
	for p, r := range s.all(20) {
		if r.Outcome != tracker.Delivered || r.Attempts != 1 {
			t.Errorf("%v: %s", p, js(r))
		}
	}
}

// A vendor whose answer begins and never ends holds a call for as long as a call may take, and the lane no longer.
func TestAnswerWithoutAnEnd(t *testing.T) {
	over := make(chan struct{})
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
		<-over
	}))
	defer vendor.Close()
	defer close(over)
	s := startSender(t, tracker.Options{Vendor: heap.New(), NoPacing: true, Timeout: 300 * time.Millisecond,
		Credentials: map[tracker.Sink]tracker.Credential{tracker.Production: {URL: vendor.URL, Key: "k"}}})
	s.send(items(5, 1, tracker.Production)...)
	for p, r := range s.all(5) {
		if r.Outcome != tracker.Delivered { // its status had come
			t.Errorf("%v: %s", p, js(r))
		}
	}
}

// A vendor that fails is asked by one call at a time whether it is back, however many events wait.
func TestOneCallAsksWhetherTheVendorIsBack(t *testing.T) {
	var calls atomic.Int64
	asked, answers := make(chan struct{}, 100), make(chan struct{})
	answer := sync.OnceFunc(func() { close(answers) })
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) <= 20 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		asked <- struct{}{}
		<-answers
	}))
	defer vendor.Close()
	defer answer()
	s := startSender(t, tracker.Options{Vendor: heap.New(), NoPacing: true, Trips: 2, Events: 1,
		Credentials: map[tracker.Sink]tracker.Credential{tracker.Production: {URL: vendor.URL, Key: "k"}}})
	s.send(items(50, 50, tracker.Production)...)
	<-asked
	for range 50 { // nothing happens then, and nothing tells of it
		if n := s.Status().Sinks[tracker.Production].Calls; n > 1 {
			t.Fatalf("%d calls to a vendor that does not answer", n)
		}
		time.Sleep(2 * time.Millisecond)
	}
	answer()
	for p, r := range s.all(50) {
		if r.Outcome != tracker.Delivered {
			t.Errorf("%v: %s", p, js(r))
		}
	}
}
