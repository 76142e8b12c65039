package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// puller reads a stream's messages from a sequence on, in order, each once.
//
// It holds a consumer at the server, kept in memory there and without acknowledgements: only a place in the stream, to
// be thrown away at the first irregularity and made again from next. Where the reader stands is therefore never the
// server's word but the puller's own. Each pull is one question, answered with what is waiting up to a number of bytes;
// nothing is fetched ahead of that, which bounds the memory.
type puller struct {
	j           *Journal
	stream      string
	filter      string // subject; empty: all of the stream's
	headersOnly bool
	next        uint64 // first sequence not returned yet

	engine   *engine // the one conn belongs to
	conn     *nats.Conn
	inbox    string
	messages chan *nats.Msg // filled by conn; never full, since a pull asks for no more than it holds
	sub      *nats.Subscription

	consumer string // name at the server; empty: none
	placed   uint64 // the stream's last sequence when the consumer was made
	seen     uint64 // messages this consumer has delivered
	pulls    uint64 // numbers the pulls, so that a late answer is not taken for another's
	asked    string // the inbox of the pull under way; empty: none
	batch    int    // messages it asked for
	failures int    // attempts in a row that brought nothing
	fresh    bool   // the consumer was made by the last call, which has not looked at what it delivers
}

const (
	pullMessages  = 4096
	pullExpires   = 60 * time.Second
	pullHeartbeat = time.Second
)

// message is a stream's message with its place.
type message struct {
	*nats.Msg
	sequence uint64
}

// errIdle says that the server is there and has nothing.
var errIdle = errors.New("idle")

// pull returns everything waiting, up to maxBytes or the first message if that alone is larger. It blocks while there is
// nothing, and returns errIdle about once a second in the meantime, and once after each new consumer.
func (p *puller) pull(ctx context.Context, maxBytes int) ([]message, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p.fresh = p.consumer == ""
		if err := p.place(ctx); err != nil {
			if errors.Is(err, ErrClosed) || errors.Is(err, ErrPastEnd) || ctx.Err() != nil {
				return nil, err
			}
			if err := p.pause(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if p.asked == "" {
			if err := p.ask(maxBytes); err != nil {
				p.drop()
				continue
			}
		}
		if p.fresh {
			return nil, errIdle
		}
		got, err := p.receive(ctx)
		switch {
		case len(got) > 0:
			p.next = got[len(got)-1].sequence + 1
			p.failures = 0
			return got, nil
		case errors.Is(err, errTooLarge):
			if err := p.ask(0); err != nil {
				p.drop()
			}
		case errors.Is(err, errAgain):
		case errors.Is(err, errLost):
			p.drop()
			if err := p.pause(ctx); err != nil {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

var (
	errTooLarge = errors.New("the next message is larger than what was asked for")
	errAgain    = errors.New("the pull ended empty")
	errLost     = errors.New("the consumer is lost")
)

// place makes sure that there is a consumer, at next.
func (p *puller) place(ctx context.Context) error {
	e, _, err := p.j.engine()
	if err != nil {
		p.drop()
		return err
	}
	if p.engine != e {
		p.hangUp()
	}
	if p.consumer != "" {
		return nil
	}
	if p.conn == nil {
		if err := p.connect(e); err != nil {
			return err
		}
	}
	info, err := e.lookup(ctx, p.stream)
	if err != nil {
		return err
	}
	if p.filter == "" && p.next > info.State.LastSeq+1 {
		return fmt.Errorf("%w: asked to read from %d, the journal %s ends at %d", ErrPastEnd, p.next, p.j.id, info.State.LastSeq)
	}
	call, cancel := e.call(ctx)
	defer cancel()
	c, err := e.js.CreateConsumer(call, p.stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       p.next,
		AckPolicy:         jetstream.AckNonePolicy,
		FilterSubject:     p.filter,
		HeadersOnly:       p.headersOnly,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 5 * time.Minute,
	})
	if err != nil {
		return err
	}
	p.consumer, p.placed, p.seen, p.asked = c.CachedInfo().Name, info.State.LastSeq, 0, ""
	return nil
}

func (p *puller) connect(e *engine) error {
	nc, err := e.dial("reader")
	if err != nil {
		return err
	}
	inbox, messages := nc.NewInbox(), make(chan *nats.Msg, pullMessages+64)
	sub, err := nc.ChanSubscribe(inbox+".*", messages)
	if err != nil {
		nc.Close()
		return err
	}
	p.engine, p.conn, p.inbox, p.messages, p.sub = e, nc, inbox, messages, sub
	return nil
}

// ask begins a pull of up to maxBytes; 0: of one message, however large.
func (p *puller) ask(maxBytes int) error {
	request := struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes,omitempty"`
		Expires   time.Duration `json:"expires"`
		NoWait    bool          `json:"no_wait"` // with Expires: wait for the first message, then end at the last
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{pullMessages, maxBytes, pullExpires, true, pullHeartbeat}
	if maxBytes == 0 {
		request.Batch = 1
	}
	p.batch = request.Batch
	q, err := json.Marshal(request)
	if err != nil {
		return err
	}
	p.pulls++
	p.asked = fmt.Sprintf("%s.%d", p.inbox, p.pulls)
	return p.conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+p.stream+"."+p.consumer, p.asked, q)
}

// receive collects the answer to the pull under way. If ctx ends in between, the pull stays under way.
func (p *puller) receive(ctx context.Context) ([]message, error) {
	var got []message
	// A large message on a slow line is silence too, so each time it is waited longer.
	patience := min(time.Minute, 4*pullHeartbeat<<min(p.failures, 8))
	silence := time.NewTimer(patience)
	defer silence.Stop()
	for {
		var m *nats.Msg
		select {
		case m = <-p.messages:
		default:
			select {
			case m = <-p.messages:
			case <-ctx.Done():
				return got, ctx.Err()
			case <-p.j.ending.Done():
				return got, ErrClosed
			case <-silence.C:
				return got, errLost
			}
		}
		silence.Reset(patience)
		if strings.HasPrefix(m.Subject, p.inbox) {
			if m.Subject != p.asked {
				continue
			}
			switch status, text := m.Header.Get("Status"), m.Header.Get("Description"); {
			case status == "100":
				if len(got) == 0 {
					return nil, errIdle
				}
				continue
			case status == "404" || status == "408":
				p.asked = ""
				return got, errAgain
			case status == "409" && strings.Contains(text, "MaxBytes"):
				p.asked = ""
				return got, errTooLarge
			case status == "409" && strings.Contains(text, "Batch Completed"):
				p.asked = ""
				return got, errAgain
			default: // consumer deleted, leader changed, nobody there
				p.drop()
				return got, errLost
			}
		}
		meta, err := m.Metadata()
		if err != nil || meta.Consumer != p.consumer {
			continue // of a consumer dropped before
		}
		floor := p.next
		if len(got) > 0 {
			floor = got[len(got)-1].sequence + 1
		}
		if meta.Sequence.Consumer != p.seen+1 || meta.Sequence.Stream < floor {
			p.drop()
			return got, errLost
		}
		p.seen++
		got = append(got, message{Msg: m, sequence: meta.Sequence.Stream})
		if len(got) == p.batch {
			p.asked = ""
			return got, nil
		}
	}
}

// pending asks how many messages the consumer has not delivered yet.
func (p *puller) pending(ctx context.Context, e *engine) (uint64, error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	c, err := e.js.Consumer(ctx, p.stream, p.consumer)
	if err != nil {
		return 0, fmt.Errorf("%w: reader's consumer: %w", ErrUnavailable, err)
	}
	return c.CachedInfo().NumPending, nil
}

// pause waits a little, or until the engine changes.
func (p *puller) pause(ctx context.Context) error {
	_, changed, _ := p.j.engine()
	wait := time.NewTimer(min(time.Second, 10*time.Millisecond<<min(p.failures, 10)))
	defer wait.Stop()
	p.failures++
	select {
	case <-changed:
	case <-wait.C:
	case <-p.j.ending.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// drop forgets the consumer; the server removes it once it has been idle.
func (p *puller) drop() {
	if p.consumer != "" && p.conn != nil && p.conn.IsConnected() {
		// So that it does not wait five minutes; nobody listens for the answer.
		_ = p.conn.Publish("$JS.API.CONSUMER.DELETE."+p.stream+"."+p.consumer, nil)
	}
	p.consumer, p.asked = "", ""
}

// hangUp closes the connection.
func (p *puller) hangUp() {
	p.drop()
	if p.conn != nil {
		_ = p.conn.FlushTimeout(time.Second)
		p.conn.Close()
	}
	p.engine, p.conn, p.sub, p.messages = nil, nil, nil, nil
}
