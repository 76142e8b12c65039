package send

import (
	"bufio"
	"fmt"
	"os"
	"sync"
	"time"
)

// Acks is the file of acknowledged events: a line "eventId<TAB>line number" for each, in the order of the answers. It
// is written at least every 100 ms and durable once Close returns. It is safe for concurrent use.
type Acks struct {
	mu   sync.Mutex
	file *os.File
	out  *bufio.Writer
	err  error // the first; evidence that was lost cannot be got back
	stop chan struct{}
	done chan struct{}
}

// CreateAcks creates the file, or empties it.
func CreateAcks(path string) (*Acks, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, fmt.Errorf("acknowledgements: %w", err)
	}
	a := &Acks{file: f, out: bufio.NewWriterSize(f, 256<<10), stop: make(chan struct{}), done: make(chan struct{})}
	go a.flushNowAndThen()
	return a, nil
}

// add notes one acknowledged request.
func (a *Acks) add(ids []string, lines []int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, id := range ids {
		if a.err == nil {
			_, a.err = fmt.Fprintf(a.out, "%s\t%d\n", id, lines[i])
		}
	}
	return a.wrapped()
}

func (a *Acks) wrapped() error {
	if a.err == nil {
		return nil
	}
	return fmt.Errorf("acknowledgements: %w: events were accepted that %s does not list", a.err, a.file.Name())
}

func (a *Acks) flushNowAndThen() {
	defer close(a.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.mu.Lock()
			if a.err == nil {
				a.err = a.out.Flush()
			}
			a.mu.Unlock()
		case <-a.stop:
			return
		}
	}
}

// Close writes what is left, syncs and closes.
func (a *Acks) Close() error {
	close(a.stop)
	<-a.done
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = a.out.Flush()
	}
	if a.err == nil {
		a.err = a.file.Sync()
	}
	if err := a.file.Close(); a.err == nil {
		a.err = err
	}
	return a.wrapped()
}
