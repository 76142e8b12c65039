package duckdb

import (
	"fmt"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// apply writes everything of the transaction.
func (w *writer) apply(t *transaction) error {
	for _, p := range t.parts {
		if err := w.put(p); err != nil {
			return err
		}
	}
	for kind, a := range w.tables {
		if t.rows[kind] > 0 {
			if err := a.flush(); err != nil {
				return err
			}
		}
	}
	if w.e.fault != nil {
		if err := w.e.fault(t); err != nil {
			return err
		}
	}
	for _, m := range t.moves {
		if err := w.digest(t, m); err != nil {
			return err
		}
	}
	for _, j := range t.opens {
		if err := w.conn.run(`UPDATE journals_seen SET highest = v.highest FROM journals v WHERE v.id = journals_seen.id AND journals_seen.highest IS NULL`); err != nil {
			return err
		}
		if err := w.conn.run(`INSERT INTO journals_seen VALUES (?, ?, NULL)`, j.ID, j.First); err != nil {
			return err
		}
	}
	for _, m := range t.moves {
		if err := w.lines.putLine(m, w.e.state.line(m.key).next(m)); err != nil {
			return err
		}
	}
	if err := w.lines.flush(); err != nil {
		return err
	}
	if len(t.records) > 0 {
		if err := w.extendTimeline(t); err != nil {
			return err
		}
	}
	return w.countRows()
}

func (w *writer) put(p part) error {
	b := p.from.batch
	for i := p.lo; i < p.hi; i++ {
		var err error
		if rules.KindOf(b) == rawRows {
			err = w.tables[rawRows].put(b.Run, &b.Rows[i])
		} else {
			err = w.tables[outcomes].putOutcome(b.Run, b.Stage.Base(), &b.Outcomes[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// countEvery is how many transactions pass between two counts of the rows.
const countEvery = 64

// countRows makes sure, now and then, that the table has as many rows as the cursors say, the open transaction's
// included: DuckDB's appender says nothing of what it did with the rows it was given.
func (w *writer) countRows() error {
	if w.commits++; w.commits < countEvery {
		return nil
	}
	w.commits = 0
	return checkCounts(w.conn, w.stack)
}

// checkCounts compares the number of rows and outcomes of a stack, those that retention deleted included, with what its
// cursors have counted.
func checkCounts(c *conn, stack event.Stack) error {
	for table, stages := range map[string]string{"raw": "stage = 'raw'", "outcomes_log": "stage <> 'raw'"} {
		err := c.rows(fmt.Sprintf(`SELECT (SELECT count(*) FROM %[1]s.%[2]s) + (SELECT coalesce(sum("rows"), 0)::BIGINT FROM expired WHERE stack = '%[1]s' AND "table" = '%[2]s'), (SELECT coalesce(sum("rows"), 0)::BIGINT FROM cursors WHERE stack = '%[1]s' AND %[3]s)`, stack, table, stages), nil, func(r []any) error {
			if r[0] != r[1] {
				return fmt.Errorf("%s.%s has %v rows, its cursors have counted %v: the file is damaged", stack, table, r[0], r[1])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) extendTimeline(t *transaction) error {
	for _, r := range t.records {
		from := r.From
		if from == 0 {
			from = r.Sequence + 1
		}
		if err := w.conn.run(`INSERT INTO timeline VALUES (?, ?, ?, ?, ?, make_timestamp(?), ?)`,
			r.Sequence, r.Generation, string(r.Kind), string(r.Live), from, r.At, string(r.Bytes)); err != nil {
			return fmt.Errorf("control record at %d: %w", r.Sequence, err)
		}
	}
	if err := w.conn.execAll(views(t.timeline, w.e.state.columns())); err != nil {
		return fmt.Errorf("views: %w", err)
	}
	return nil
}
