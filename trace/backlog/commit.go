package backlog

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// pace is how often transactions are begun at most. Each costs CPU however little is in it; on a disk that syncs fast,
// waiting gathers more into one. One that comes alone does not wait.
const pace = 10 * time.Millisecond

// change is a part of a transaction.
type change struct {
	apply func(*bolt.Tx) error // an error fails the whole transaction
	done  func()               // called with mu held once it is committed, in the order of the changes
	reply chan error           // has room for one
}

// do hands a change over to the writer and waits until it is durable, or is not and will not be. It does not end with
// ctx once the writer has the change: then nobody would know what became of it.
func (b *Backlog) do(ctx context.Context, c *change) error {
	c.reply = make(chan error, 1)
	select {
	case b.changes <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-b.closing:
		return ErrClosed
	}
	select {
	case err := <-c.reply:
		return err
	case <-b.closing:
	}
	// The writer ends what it has begun, and answers all it was given.
	b.closed.Wait()
	select {
	case err := <-c.reply:
		return err
	default:
		return ErrClosed
	}
}

// write is the writer: one transaction after another of everything that waits.
func (b *Backlog) write() {
	var begun time.Time
	for {
		var changes []*change
		select {
		case <-b.closing:
			return
		case c := <-b.changes:
			changes = append(changes, c)
		}
		if rest := pace - time.Since(begun); rest > 0 {
			timer := time.NewTimer(rest)
			select {
			case <-timer.C:
			case <-b.closing:
				timer.Stop()
			}
		}
		begun = time.Now()
	gather:
		for len(changes) < cap(b.changes) {
			select {
			case c := <-b.changes:
				changes = append(changes, c)
			default:
				break gather
			}
		}
		err := b.commit(changes)
		if b.committed != nil {
			b.committed()
		}
		for _, c := range changes {
			c.reply <- err
		}
	}
}

// commit makes the changes durable, all or none.
func (b *Backlog) commit(changes []*change) (err error) {
	b.mu.Lock()
	commits := b.state.Commits + 1
	b.mu.Unlock()
	err = b.update(func(tx *bolt.Tx) error {
		for _, c := range changes {
			if err := c.apply(tx); err != nil {
				return err
			}
		}
		s, err := readState(tx)
		if err != nil {
			return err
		}
		s.Commits = commits
		return putState(tx, s)
	})
	if err != nil && b.reached(commits) {
		// The last step failed after its bytes were written, so this file says from now on that it happened. Whether the
		// disk says so too, another sync decides.
		err = b.db.Sync()
		if err != nil {
			err = fmt.Errorf("backlog: whether the last change is on the disk is unknown: restart this process: %w", err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failure = err
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.done != nil {
			c.done()
		}
	}
	b.state.Commits = commits
	return nil
}

// update is bolt's, but a bug in a change costs the transaction, not the process.
func (b *Backlog) update(apply func(*bolt.Tx) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("backlog: a change met a bug: %v", v)
		}
	}()
	if err := b.db.Update(apply); err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	return nil
}

// reached reports whether the transaction numbered commits is what the file says now.
func (b *Backlog) reached(commits uint64) (yes bool) {
	b.view(func(tx *bolt.Tx) error {
		s, err := readState(tx)
		yes = err == nil && s.Commits >= commits
		return err
	})
	return yes
}
