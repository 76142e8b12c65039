package duckdb

import (
	"fmt"
	"time"
)

// track notes that a query is in progress, or no longer.
func (e *Engine) track(r *reader, on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if on {
		e.readers[r] = struct{}{}
	} else {
		delete(e.readers, r)
	}
}

// stopReaders stops the queries in progress.
func (e *Engine) stopReaders(cause error) []*reader {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*reader
	for r := range e.readers {
		r.stop(cause)
		all = append(all, r)
	}
	return all
}

// makeRoom stops the queries in progress, for their memory, and keeps others from beginning until release is called. It
// waits for their end, though not for ever: a single function call cannot be interrupted.
func (e *Engine) makeRoom() (release func(), alone bool) {
	e.stopReaders(errMemory)
	return e.executing.hold(roomWait)
}

// roomWait bounds the time that makeRoom takes.
const roomWait = 10 * time.Second

// reader returns a connection for a query, and what to call afterwards.
func (e *Engine) reader() (*conn, func(), error) {
	e.using.RLock()
	if e.db == nil {
		defer e.using.RUnlock()
		return nil, nil, e.failed
	}
	c, err := e.db.connect()
	if err != nil {
		e.using.RUnlock()
		return nil, nil, err
	}
	opened := e.opened
	return c, func() {
		err := e.end(c)
		e.using.RUnlock()
		if err != nil {
			e.reopen(opened, err)
		}
	}, nil
}

// end ends the transaction of a query that no longer executes, and closes its connection.
//
// Whoever ends the oldest transaction cleans up what others have committed meanwhile, and for that DuckDB has to bring
// the notes they took back into memory. If other queries hold all of it, cleaning up fails half-way: as part of
// disconnecting that ends the process (tried); as a ROLLBACK it is an error, but leaves pointers to nowhere, so that the
// file must be opened again, which an error of end says. So there must be room first: either some that is held for this
// until the moment before, or all, with every query stopped.
func (e *Engine) end(c *conn) error {
	e.ending.Lock()
	defer e.ending.Unlock()
	defer c.close()
	free, err := e.reserve()
	if err == nil {
		free()
		err = c.exec("ROLLBACK")
	}
	if err == nil || !outOfMemory(err) && !broken(err) {
		return nil
	}
	release, _ := e.makeRoom()
	defer release()
	if err := c.exec("ROLLBACK"); err != nil {
		return fmt.Errorf("the end of a query: %w", err) // there is no transaction any more: it is the first that failed half-way
	}
	return nil
}

// reserve takes some MiB of DuckDB's memory; free gives them back. It takes none if nobody else uses any.
func (e *Engine) reserve() (free func(), err error) {
	if memoryUsed() < e.o.Memory/2 || e.executing.idle() {
		return func() {}, nil
	}
	c, err := e.db.connect()
	if err != nil {
		return nil, err
	}
	_, s, a, err := c.ask("SELECT DISTINCT range FROM range(200000)", nil)
	if err != nil {
		c.close()
		return nil, err
	}
	free = func() {
		a.close()
		s.close()
		c.close()
	}
	if _, err := a.next(); err != nil { // from here on it holds what it has gathered
		free()
		return nil, err
	}
	return free, nil
}
