package mirror

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/service/reserve"
	"github.com/sparrowhq/sparrow/telemetry"
)

// runChild is the mirror that TestKill kills: this test program started again.
func runChild() {
	dir := os.Getenv("SPARROW_TEST_CHILD")
	if dir == "" {
		return
	}
	o := testOptions(dir, os.Getenv("SPARROW_TEST_GREEN"), os.Getenv("SPARROW_TEST_BLUE"))
	if protocol := os.Getenv("SPARROW_TEST_PROTOCOL"); protocol != "" {
		o.Stacks = map[event.Stack]StackOptions{event.Blue: {Protocol: protocol}}
	}
	t, err := telemetry.New(telemetry.Options{Process: "mirror"})
	if err != nil {
		panic(err)
	}
	o.Telemetry = t
	m, err := New(o)
	if err != nil {
		panic(err)
	}
	clients, err := net.Listen("tcp", os.Getenv("SPARROW_TEST_CLIENTS"))
	if err != nil {
		panic(err)
	}
	admin, err := net.Listen("tcp", os.Getenv("SPARROW_TEST_ADMIN"))
	if err != nil {
		panic(err)
	}
	fmt.Println(m.Run(context.Background(), clients, admin))
	os.Exit(1)
}

// kill -9 under load, again and again: what was acknowledged reaches both stacks once.
func TestKill(t *testing.T) {
	b := &bench{t: t, green: newRig(t, event.Green), blue: newRig(t, event.Blue)}
	dir := t.TempDir()
	clients, admin := reserve.ForTest(t), reserve.ForTest(t)
	env := append(os.Environ(), "SPARROW_TEST_CHILD="+dir, "SPARROW_TEST_GREEN="+b.green.url(), "SPARROW_TEST_BLUE="+b.blue.url(),
		"SPARROW_TEST_CLIENTS="+clients, "SPARROW_TEST_ADMIN="+admin)
	b.options = testOptions(dir, b.green.url(), b.blue.url())
	acked := map[uuid.UUID]bool{}
	var mu sync.Mutex
	for round := range 5 {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = env
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		b.http = newClient()
		b.clients = "http://" + clients
		before := len(b.green.got())
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					id, err := b.post(round)
					if err != nil {
						continue // not up yet, or killed
					}
					mu.Lock()
					acked[id] = true
					mu.Unlock()
				}
			})
		}
		b.green.has(before + 300)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		child.Wait()
		close(stop)
		wg.Wait()
		b.http.CloseIdleConnections()
	}
	// The last one is looked into from here.
	b.start()
	t.Cleanup(b.stop)
	b.both(acked)
	if n := b.equation().Stacks[event.Green].Accepted; n < uint64(len(acked)) {
		t.Errorf("%d acknowledged, %d in the journal", len(acked), n)
	}
	if len(b.green.got()) != len(b.blue.got()) {
		t.Errorf("green has %d requests, blue %d", len(b.green.got()), len(b.blue.got()))
	}
	t.Logf("%d acknowledged over 5 kills", len(acked))
}
