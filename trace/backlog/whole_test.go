package backlog

import (
	"fmt"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
)

// A crash leaves the file as some transaction left it. So after each one, the file as it is then must agree with itself:
// the cursor ends where the last message does and the messageIds of every message are there, every dead event has its
// letter, and a letter is gone exactly if there is a correction that says what became of it.
func TestEveryTransactionIsWhole(t *testing.T) {
	b := begun(t, Options{Dir: t.TempDir()}, "hook")
	snapshots := 0
	check := func() {
		snapshots++
		dir := t.TempDir()
		if err := b.db.View(func(tx *bolt.Tx) error { return tx.CopyFile(filepath.Join(dir, "backlog.db"), 0o600) }); err != nil {
			t.Error(err)
			return
		}
		c, err := Open(Options{Dir: dir, Stack: event.Green, MinFree: -1})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		agrees(t, c)
	}
	b.committed = check
	l := b.Lane("hook")
	dead := func(p event.Position) (warehouse.Outcome, Letter) {
		o := warehouse.Outcome{Position: p, Outcome: "dead"}
		return o, Letter{Event: Event{message(p.Frame, 1).Events[0].Event, "production"}, Outcome: o}
	}
	for frame := uint64(1); frame <= 10; frame++ {
		b.Seen(fmt.Sprintf("%016d", frame), 1)
		add(t, b, message(frame, 1))
		p := at(frame, 0)
		o, letter := dead(p)
		must(t, l.Commit(ctx, Change{Through: frame, Intents: []event.Position{p}}))
		must(t, l.Commit(ctx, Change{Through: frame, Results: []warehouse.Outcome{o}, Letters: []Letter{letter}}))
		if frame%2 == 0 {
			o.Outcome, o.Revision = "delivered", 1
			must(t, l.Commit(ctx, Change{Freed: []event.Position{p}, Corrections: []warehouse.Outcome{o}}))
		}
	}
	must(t, b.Close())
	if snapshots < 30 {
		t.Errorf("only %d transactions were looked at", snapshots)
	}
}

func agrees(t *testing.T, b *Backlog) {
	s := b.State()
	if s.Last > 0 {
		m, err := b.Read(ctx, s.Last)
		if err != nil || m == nil {
			t.Errorf("message %d of %d: %v", s.Last, s.Last, err)
			return
		}
		if m.To != s.Cursor || m.Total != s.Total {
			t.Errorf("the cursor is %v with %d events, and the last message ends at %v with %d", s.Cursor, s.Total, m.To, m.Total)
		}
	}
	if uint64(b.Usage().Keys) != s.Last {
		t.Errorf("%d messageIds after %d messages with one each", b.Usage().Keys, s.Last)
	}
	l := b.Lane("hook")
	r, err := l.Recover()
	if err != nil {
		t.Error(err)
	}
	_, corrections, err := l.Corrections(100)
	if err != nil {
		t.Error(err)
	}
	corrected := map[event.Position]bool{}
	for _, c := range corrections {
		corrected[c.Position] = true
	}
	for p := range r.Results {
		if r.Intents[p] {
			t.Errorf("%v has a result, and its intent stands", p)
		}
		if _, err := l.Letter(p); (err == nil) == corrected[p] {
			t.Errorf("%v is dead; corrected: %v; letter: %v", p, corrected[p], err)
		}
	}
}
