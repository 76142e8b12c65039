package mirror

import (
	"context"
	"sync"

	"github.com/sparrowhq/sparrow/journal"
)

// reader reads the journal in order. *journal.Reader is one.
type reader interface {
	// Next returns what is waiting, contiguous with what it returned before: at least one entry, otherwise no more than
	// maxBytes of data. It blocks while there is none, until ctx ends.
	Next(ctx context.Context, maxBytes int) ([]journal.Entry, error)
	Close()
}

// prefetch reads ahead while a delivery is under way, so that the next one holds what came meanwhile. It holds at most
// max bytes beside what was taken from it (and one entry more).
//
// Where little comes at a time it does not: it reads only when asked, since one read then brings what several would have.
type prefetch struct {
	reader reader
	max    int
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	entries []journal.Entry
	bytes   int
	err     error // why nothing more comes

	ready chan struct{} // holds a token when entries or err may be there; sent by run
	room  chan struct{} // holds a token when bytes may have become less; sent by take
	want  chan struct{} // holds a token when more is asked for; sent by ask
}

// eager is how many bytes one read must have brought for the next one to be made unasked.
const eager = 64 << 10

func startPrefetch(r reader, maxBytes int) *prefetch {
	ctx, cancel := context.WithCancel(context.Background())
	p := &prefetch{reader: r, max: maxBytes, cancel: cancel, done: make(chan struct{}),
		ready: make(chan struct{}, 1), room: make(chan struct{}, 1), want: make(chan struct{}, 1)}
	go p.run(ctx)
	return p
}

func (p *prefetch) run(ctx context.Context) {
	defer close(p.done)
	defer p.reader.Close()
	got := 0
	for {
		if got < eager {
			select {
			case <-p.want:
			case <-ctx.Done():
				return
			}
		}
		p.mu.Lock()
		room := p.max - p.bytes
		p.mu.Unlock()
		if room <= 0 {
			select {
			case <-p.room:
				continue
			case <-ctx.Done():
				return
			}
		}
		entries, err := p.reader.Next(ctx, room)
		if ctx.Err() != nil {
			return
		}
		got = 0
		p.mu.Lock()
		p.entries = append(p.entries, entries...)
		for _, e := range entries {
			got += len(e.Data)
		}
		p.bytes += got
		p.err = err
		p.mu.Unlock()
		signal(p.ready)
		if err != nil {
			return
		}
	}
}

// ask lets one more read be made. It does not block.
func (p *prefetch) ask() { signal(p.want) }

// take returns everything that was read ahead. It does not block; ready says when there is something.
func (p *prefetch) take() ([]journal.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entries := p.entries
	p.entries, p.bytes = nil, 0
	signal(p.room)
	if len(entries) > 0 {
		return entries, nil
	}
	return nil, p.err
}

// stop ends the goroutine and waits for it.
func (p *prefetch) stop() {
	p.cancel()
	<-p.done
}

// signal puts a token into a channel of capacity one, unless one is there.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
