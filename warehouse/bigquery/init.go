package bigquery

import (
	"context"
	"fmt"

	"github.com/sparrowhq/sparrow/event"
)

// Statements returns what makes everything that Open makes in an empty project, in GoogleSQL and in an order in which it
// can be run. Nothing is asked of BigQuery.
func Statements(o Options) ([]string, error) {
	if err := o.applyDefaults(); err != nil {
		return nil, err
	}
	n := names{o.Project, o.Prefix}
	out := append(n.create(o.Location, o.Retention), n.fixedViews(o.Retention.days)...)
	return append(out, n.cutViews(event.Timeline{}, nil)...), nil
}

// Init makes the datasets, tables and views that are not there yet, and gives tables of an earlier build the columns they
// lack. Views are made anew only if a table was missing: a warehouse that runs keeps its own.
func Init(ctx context.Context, o Options) error {
	e, err := connect(ctx, o)
	if err != nil {
		return err
	}
	defer e.disconnect()
	made, err := e.prepare(ctx)
	if err != nil {
		return fmt.Errorf("warehouse: BigQuery: %w", err)
	}
	if !made {
		return nil
	}
	return e.makeViews(ctx)
}

// makeViews makes every view, by what is stored.
func (e *Engine) makeViews(ctx context.Context) error {
	// cursors and journals are views too, and what is stored is read through them.
	if err := e.runAll(ctx, e.names.fixedViews(e.expires)); err != nil {
		return fmt.Errorf("warehouse: views: %w", err)
	}
	if err := e.loadKnown(ctx); err != nil {
		return fmt.Errorf("warehouse: %w", err)
	}
	columns, _ := e.known.columns()
	if err := e.cut(ctx, e.known.get().Timeline, columns); err != nil {
		return fmt.Errorf("warehouse: views: %w", err)
	}
	return nil
}

// cut makes the views that depend on the timeline or on columns: live and staging after those that they read.
func (e *Engine) cut(ctx context.Context, t event.Timeline, columns properties) error {
	if err := e.runAll(ctx, e.names.stackViews(columns)); err != nil {
		return err
	}
	return e.runAll(ctx, e.names.roleViews(t, columns))
}
