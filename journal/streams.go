package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sparrowhq/sparrow/event"
)

const (
	mainStream    = "sparrow"
	ledgerStream  = "sparrow-ledger"
	sampledStream = "sparrow-sampled"
	recordsStream = "sparrow-records"
	stateStream   = "sparrow-state"

	framesSubject  = "sparrow.frames"
	controlSubject = "sparrow.control"
	ledgerSubject  = "sparrow.log.ledger"
	recordsPrefix  = "sparrow.log."
	statePrefix    = "sparrow.state."
)

// Stream metadata.
const (
	metaID     = "sparrow-journal"
	metaFormat = "sparrow-format"
)

// Limits of the streams beside the main one, in bytes. At the limit the ledger (and what stands beside it of sampled
// requests) loses its oldest lines before their time;
// the others refuse.
const (
	ledgerMaxBytes  = 1 << 30
	recordsMaxBytes = 4 << 30
	stateMaxBytes   = 64 << 20
)

func (j *Journal) stream(name string, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       name,
		Subjects:   subjects,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardNew,
		Storage:    jetstream.FileStorage,
		Replicas:   j.o.Replicas,
		DenyDelete: true, // single messages; purging frames is how the journal is trimmed
		Metadata:   map[string]string{metaFormat: strconv.Itoa(format)},
	}
}

// prepare creates what is missing, and reads what is there. It may be called any number of times, and by several
// processes at once.
func (j *Journal) prepare(ctx context.Context, e *engine) error {
	if err := j.prepareMain(ctx, e); err != nil {
		return err
	}
	ledger := j.stream(ledgerStream, ledgerSubject)
	ledger.MaxBytes, ledger.MaxAge, ledger.Discard = ledgerMaxBytes, j.o.LedgerAge, jetstream.DiscardOld
	sampled := j.stream(sampledStream, recordsPrefix+"sampled.*") // of its own, since the subjects of a stream stay what they were
	sampled.MaxBytes, sampled.MaxAge, sampled.Discard = ledgerMaxBytes, j.o.LedgerAge, jetstream.DiscardOld
	records := j.stream(recordsStream, recordsPrefix+"dead.*", recordsPrefix+"verdict")
	records.MaxBytes = recordsMaxBytes
	state := j.stream(stateStream, statePrefix+">")
	state.MaxBytes, state.MaxMsgsPerSubject = stateMaxBytes, 1
	for _, c := range []jetstream.StreamConfig{ledger, sampled, records, state} {
		if _, err := j.ensure(ctx, e, c); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) prepareMain(ctx context.Context, e *engine) error {
	c := j.stream(mainStream, framesSubject, controlSubject)
	c.MaxBytes = j.o.MaxBytes
	c.Metadata[metaID] = uuid.NewString()
	info, err := e.lookup(ctx, mainStream)
	switch {
	case err == nil:
		// A limit lowered below what is there must still let control records in; frames wait.
		c.MaxBytes = max(c.MaxBytes, int64(info.State.Bytes+info.State.Bytes/19)+smallestStream)
		if info.Config.MaxBytes <= c.MaxBytes && info.Config.MaxBytes >= j.o.MaxBytes {
			c.MaxBytes = info.Config.MaxBytes
		}
	case !missing(err):
		return err
	case j.id != "":
		return fmt.Errorf("journal %s: its stream %s is gone: restore it, or restart to begin a new journal", j.id, mainStream)
	case j.o.FirstFrame != nil:
		first, err := j.o.FirstFrame(ctx)
		if err != nil {
			return fmt.Errorf("journal: this is a new journal, and where it may begin is not known: %w", err)
		}
		c.FirstSeq = max(first, 1)
	}
	info, err = j.ensure(ctx, e, c)
	if err != nil {
		return err
	}
	id := info.Config.Metadata[metaID]
	if _, err := uuid.Parse(id); err != nil {
		return fmt.Errorf("journal: stream %s carries no journal id: it is not a Sparrow journal", mainStream)
	}
	if j.id != "" && j.id != id {
		return fmt.Errorf("journal: stream %s now belongs to journal %s, it was %s: somebody replaced it; restart to go on with the new one", mainStream, id, j.id)
	}
	j.id = id
	return j.writeInitial(ctx, e)
}

// writeInitial appends the journal's first control record unless there is one. Of several processes that try, one wins.
func (j *Journal) writeInitial(ctx context.Context, e *engine) error {
	_, err := j.appendControl(ctx, e, event.Control{
		Generation: 1,
		Kind:       event.Initial,
		Live:       event.Green,
		Reason:     "new journal " + j.id,
		At:         time.Now().UnixMicro(),
	}, false)
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// lookup returns the stream as it is.
func (e *engine) lookup(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	s, err := e.js.Stream(ctx, name)
	if missing(err) {
		return nil, fmt.Errorf("journal: stream %s: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: stream %s: %w", ErrUnavailable, name, err)
	}
	return s.CachedInfo(), nil
}

// ensure makes the stream exist with c's limits. What else c says holds only for a new stream.
func (j *Journal) ensure(ctx context.Context, e *engine, c jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	info, err := e.lookup(ctx, c.Name)
	if missing(err) {
		info, err = e.create(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	if err := checkFormat(info.Config.Metadata[metaFormat], "stream "+c.Name); err != nil {
		return nil, err
	}
	have := info.Config
	if have.MaxBytes == c.MaxBytes && have.MaxAge == c.MaxAge {
		return info, nil
	}
	have.MaxBytes, have.MaxAge = c.MaxBytes, c.MaxAge
	ctx, cancel := e.call(ctx)
	defer cancel()
	s, err := e.js.UpdateStream(ctx, have)
	if err != nil {
		// Changing a limit writes a file. A journal on a full disk must open all the same.
		j.o.Telemetry.Log.Warn("the limits of a stream could not be changed and stay as they were", "stream", c.Name, "error", err)
		return info, nil
	}
	return s.CachedInfo(), nil
}

func (e *engine) create(ctx context.Context, c jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	call, cancel := e.call(ctx)
	defer cancel()
	s, err := e.js.CreateStream(call, c)
	if err == nil {
		return s.CachedInfo(), nil
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was faster
		return e.lookup(ctx, c.Name)
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.Code >= 500 && e.server == nil {
		return nil, fmt.Errorf("%w: creating stream %s: %w", ErrUnavailable, c.Name, err)
	}
	return nil, fmt.Errorf("journal: creating stream %s: %w", c.Name, err)
}
