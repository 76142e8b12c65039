package duckdb

import "time"

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

// makeRoom stops the queries in progress, for their memory, and waits for them a little.
func (e *Engine) makeRoom() {
	grace := time.After(stopGrace)
	for _, r := range e.stopReaders(errMemory) {
		select {
		case <-r.done:
		case <-grace:
			return
		}
	}
}

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
	return c, func() {
		c.close()
		e.using.RUnlock()
	}, nil
}
