package bigquery

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// known is what all writers share: journals, the timeline, and the columns of raw_normalized. It changes only after it is durable.
type known struct {
	mu  sync.Mutex
	now rules.Known // guarded by mu; its slices are never changed in place

	properties properties // guarded by mu; never changed in place
	revision   int64      // guarded by mu: of the last change of properties

	learning sync.Mutex // held by whoever makes news durable: one after another
	behind   bool       // guarded by learning: the views do not have the latest properties yet
}

func (k *known) get() rules.Known {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// learned takes over what is durable now.
func (k *known) learned(n rules.News) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now.Journals = slices.Concat(k.now.Journals, n.Opens)
	k.now.Timeline = n.Timeline
}

// columns returns the properties, and the revision that they are.
func (k *known) columns() (properties, int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.properties, k.revision
}

// normalise takes over properties, unless newer ones are known.
func (k *known) normalise(all properties, revision int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if revision >= k.revision {
		k.properties, k.revision = all, revision
	}
}

// merge takes over what was read. What is known already stays: a query may not see yet what was written just now.
func (k *known) merge(read rules.Known) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(read.Timeline.Records()) < len(k.now.Timeline.Records()) {
		read.Timeline = k.now.Timeline
	}
	for _, j := range k.now.Journals {
		i := slices.IndexFunc(read.Journals, func(r warehouse.Journal) bool { return r.ID == j.ID })
		if i < 0 {
			read.Journals = append(read.Journals, j)
		} else {
			read.Journals[i].Highest = max(read.Journals[i].Highest, j.Highest)
		}
	}
	k.now = read
}

// moved notes that a cursor of a journal moved.
func (k *known) moved(m mark) {
	if m.run != 0 || rules.IsLate(m.stage) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, j := range k.now.Journals {
		if highest := rules.Highest(m.at.Cursor); j.ID == m.journal && highest > j.Highest {
			k.now.Journals = slices.Clone(k.now.Journals)
			k.now.Journals[i].Highest = highest
		}
	}
}

// learn makes durable what a batch brings of journals and control records, and has the views follow. What a crash leaves
// half done is done again: repetitions of rows do not show, and views are made anew at Open.
// news reports, beside an error, whether there was anything to make durable: otherwise the batch is at fault.
func (e *Engine) learn(ctx context.Context, b *warehouse.Batch) (news bool, err error) {
	now := e.known.get()
	if n, err := now.Admit(b); err != nil || !n.Any() {
		return false, err
	}
	e.known.learning.Lock()
	defer e.known.learning.Unlock()
	now = e.known.get() // the other stack may have brought the same meanwhile
	n, err := now.Admit(b)
	if err != nil || !n.Any() {
		return false, err
	}
	if err := e.addJournals(ctx, n.Opens); err != nil {
		return true, fmt.Errorf("journal %s: %w", b.Journal, err)
	}
	if err := e.addRecords(ctx, n.Records); err != nil {
		return true, fmt.Errorf("control records: %w", err)
	}
	if len(n.Records) > 0 {
		columns, _ := e.known.columns()
		if err := e.runAll(ctx, e.names.roleViews(n.Timeline, columns)); err != nil {
			return true, fmt.Errorf("views: %w", err)
		}
	}
	e.known.learned(n)
	return true, nil
}

func (e *Engine) addJournals(ctx context.Context, journals []warehouse.Journal) error {
	var rows [][]byte
	for _, j := range journals {
		var r row
		r.text(j.ID)
		r.int(int64(j.First))
		rows = append(rows, r.bytes)
	}
	return e.appendShared(ctx, journalsLog, rows)
}

func (e *Engine) addRecords(ctx context.Context, records []event.Record) error {
	var rows [][]byte
	for _, v := range records {
		from := v.From
		if from == 0 {
			from = v.Sequence + 1
		}
		var r row
		r.int(int64(v.Sequence))
		r.int(int64(v.Generation))
		r.text(string(v.Kind))
		r.text(string(v.Live))
		r.int(int64(from))
		r.int(v.At)
		r.blob(v.Bytes)
		rows = append(rows, r.bytes)
	}
	return e.appendShared(ctx, timelineLog, rows)
}

// appendShared appends rows to a shared table at least once, through its default stream.
func (e *Engine) appendShared(ctx context.Context, t table, rows [][]byte) error {
	if len(rows) == 0 {
		return nil
	}
	s := &stream{storage: e.storage, name: e.names.parent(t) + "/streams/_default", descriptor: t.descriptor()}
	defer s.close()
	err := e.insist(ctx, func() (bool, error) {
		err := s.append(ctx, -1, rows)
		return classify(err) == refused, err
	})
	if err != nil {
		return brief(err)
	}
	return nil
}

// loadKnown reads journals and timeline.
func (e *Engine) loadKnown(ctx context.Context) error {
	e.known.learning.Lock()
	defer e.known.learning.Unlock()
	return e.insist(ctx, func() (final bool, err error) {
		err = e.readKnown(ctx)
		return permanent(err), err
	})
}

func (e *Engine) readKnown(ctx context.Context) error {
	var now rules.Known
	err := e.each(ctx, e.names.journals(), func(r []any) error {
		now.Journals = append(now.Journals, warehouse.Journal{ID: r[0].(string), First: uint64(r[1].(int64)), Highest: uint64(r[2].(int64))})
		return nil
	})
	if err != nil {
		return fmt.Errorf("journals: %w", err)
	}
	err = e.each(ctx, e.names.records(), func(r []any) error {
		record, err := event.DecodeRecord(uint64(r[0].(int64)), []byte(r[1].(string)))
		if err != nil {
			return err
		}
		now.Timeline, err = now.Timeline.Append(record)
		return err
	})
	if err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	all, revision, err := e.loadNormalized(ctx)
	if err != nil {
		return err
	}
	e.known.merge(now)
	e.known.normalise(all, revision)
	return nil
}
