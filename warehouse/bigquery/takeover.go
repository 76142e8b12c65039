package bigquery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	bq "cloud.google.com/go/bigquery"
	"google.golang.org/api/googleapi"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// insist calls fn until it succeeds, says that its error is final, or Patience is over. It waits longer each time.
func (e *Engine) insist(ctx context.Context, fn func() (final bool, err error)) error {
	start, pause := time.Now(), e.o.firstPause
	for tries := 1; ; tries++ {
		final, err := fn()
		switch {
		case err == nil:
			return nil
		case final:
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("%w; stopped: %w", err, context.Cause(ctx))
		case time.Since(start) > e.o.Patience:
			return fmt.Errorf("%w, %d times in %s", err, tries, time.Since(start).Round(time.Millisecond))
		}
		wait := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
		pause = min(2*pause, 4*time.Second)
	}
}

// takeOver makes this process the only one that can append to the log, and reads where its cursors stand:
//
//  1. a stream of our own is made;
//  2. its name takes the place of the one in the table's description, by compare-and-set;
//  3. the stream that was named there is finalised. Whatever was on its way through it is in by now, or never will be,
//     whoever sent it, and its number of rows is known;
//  4. the marks are read, and read again until those of the finalised stream say as many rows: then nothing is hidden.
//
// A crash before 2 leaves a stream that nothing was ever sent to; one after it leaves the names of all streams that are
// yet to be finalised in the description. It does nothing if the writer has a stream.
func (w *writer) takeOver(ctx context.Context) error {
	if w.stream != nil {
		return nil
	}
	name := w.e.names.table(w.table)
	var ours, etag string
	err := w.e.insist(ctx, func() (final bool, err error) {
		ours, err = w.e.storage.create(ctx, w.e.names.parent(w.table)) // NOT_FOUND for a while if the table is new
		return classify(err) == refused, err
	})
	if err != nil {
		return fmt.Errorf("warehouse: a stream for %s: %w", name, brief(err))
	}
	var now description
	err = w.e.insist(ctx, func() (final bool, err error) {
		now, etag, err = w.claim(ctx, ours)
		return errors.Is(err, errNotOurs), err
	})
	if err != nil {
		return fmt.Errorf("warehouse: claiming %s: %w", name, err)
	}
	took := map[string]int64{} // rows of the finalised streams
	for _, stream := range now.before {
		err = w.e.insist(ctx, func() (final bool, err error) {
			took[stream], err = w.e.storage.finalise(ctx, stream)
			return false, err
		})
		if err != nil {
			return fmt.Errorf("warehouse: finalising a stream that wrote %s before: %w", name, brief(err))
		}
	}
	err = w.e.insist(ctx, func() (bool, error) { return false, w.load(ctx, took) })
	if err != nil {
		return fmt.Errorf("warehouse: the cursors in %s: %w", name, err)
	}
	if w.e.opened.Load() { // somebody else may have written meanwhile
		if err := w.e.loadKnown(ctx); err != nil {
			return fmt.Errorf("warehouse: %w", err)
		}
	}
	if len(now.before) > 0 {
		// They need not be named any more. If this fails, they are finalised once more next time.
		bounded, cancel := w.e.bound(ctx)
		_, _ = w.meta().Update(bounded, bq.TableMetadataToUpdate{Description: describe(description{writer: ours})}, etag)
		cancel()
	}
	w.stream = &stream{storage: w.e.storage, name: ours, descriptor: w.table.descriptor()}
	w.offset = 0
	w.e.metrics.takeovers.Inc()
	return nil
}

// errNotOurs says that a table cannot be used as it is.
var errNotOurs = errors.New("the table cannot be used")

func (w *writer) meta() *bq.Table {
	return w.e.rest.DatasetInProject(w.e.names.project, w.e.names.dataset(w.table.dataset)).Table(w.table.name)
}

// claim writes our stream's name into the table's description, and returns what it says then.
func (w *writer) claim(ctx context.Context, ours string) (now description, etag string, err error) {
	ctx, cancel := w.e.bound(ctx)
	defer cancel()
	m, err := w.meta().Metadata(ctx)
	if err != nil {
		return now, "", err
	}
	was, err := parseDescription(w.e.names.table(w.table), m.Description)
	if err != nil {
		return now, "", fmt.Errorf("%w: %w", errNotOurs, err)
	}
	if was.writer == ours {
		return was, m.ETag, nil // the answer to the last try was lost
	}
	now = was.claimed(ours)
	m, err = w.meta().Update(ctx, bq.TableMetadataToUpdate{Description: describe(now)}, m.ETag)
	var conflict *googleapi.Error
	if errors.As(err, &conflict) && conflict.Code == http.StatusPreconditionFailed {
		return now, "", errors.New("another process is taking it over too: exactly one sparrow warehouse may run for a project and prefix")
	}
	if err != nil {
		return now, "", err
	}
	return now, m.ETag, nil
}

// load reads the cursors of the log's marks. took says how many rows each stream took that wrote them last; below 0:
// unknown.
func (w *writer) load(ctx context.Context, took map[string]int64) error {
	for stream, rows := range took {
		if rows <= 0 {
			continue
		}
		seen := int64(0)
		err := w.e.each(ctx, w.e.names.arrived(w.table), func(r []any) error {
			seen = r[0].(int64)
			return nil
		}, stream)
		if err != nil {
			return err
		}
		if seen != rows {
			return fmt.Errorf("of %d rows that a stream took, only %d can be seen yet", rows, seen)
		}
	}
	cursors := map[rules.Key]place{}
	err := w.e.each(ctx, w.e.names.cursors(w.table), func(r []any) error {
		k := rules.Key{Stack: w.stack, Run: uint64(r[0].(int64)), Stage: warehouse.Stage(r[1].(string))}
		cursors[k] = place{event.Cursor{Frame: uint64(r[2].(int64)), Request: uint32(r[3].(int64))}, uint32(r[4].(int64))}
		return nil
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cursors = cursors
	return nil
}
