package duckdb

// Appends only ever insert, since DuckDB lets nothing else commit while it folds its log into the file
// (docs/decisions/0021-checkpoints.md): each adds a line for every cursor it moves, and the line with the highest step
// counts. rows is how many were appended for the cursor so far: it must equal the rows that are there. Lines that no
// longer count are deleted before the log is folded.
const (
	cursorsLog  = `CREATE TABLE cursors_log (stack VARCHAR NOT NULL, run BIGINT NOT NULL, stage VARCHAR NOT NULL, journal VARCHAR NOT NULL, frame BIGINT NOT NULL, request INTEGER NOT NULL, "rows" BIGINT NOT NULL, step BIGINT NOT NULL)`
	cursorsView = `CREATE VIEW cursors AS SELECT stack, run, stage, max_by(journal, step) AS journal, max_by(frame, step) AS frame, max_by(request, step) AS request, max_by("rows", step) AS "rows" FROM cursors_log GROUP BY stack, run, stage`
)

// The columns of cursors_log.
const (
	colLineStack = iota
	colLineRun
	colLineStage
	colLineJournal
	colLineFrame
	colLineRequest
	colLineRows
	colLineStep
	lineWidth
)

// newLineAppender prepares to append to cursors_log. (INSERT takes 0.7 ms more of processor time.)
func newLineAppender(c *conn) (*appender, error) {
	return newAppender(c, "main", "cursors_log", lineWidth)
}

// putLine adds the line of a move.
func (a *appender) putLine(m move, l line) error {
	if err := a.next(); err != nil {
		return err
	}
	a.text(colLineStack, string(m.stack))
	set(a, colLineRun, int64(m.run))
	a.text(colLineStage, string(m.stage))
	a.text(colLineJournal, m.journal)
	set(a, colLineFrame, int64(m.to.Frame))
	set(a, colLineRequest, int32(m.to.Request))
	set(a, colLineRows, l.rows)
	set(a, colLineStep, l.step)
	a.size++
	return nil
}

// schema4 makes the cursors of an earlier format into a log of them. An earlier build would change them in place.
func schema4() []string {
	return []string{cursorsLog, "INSERT INTO cursors_log SELECT *, 1 FROM cursors", "DROP TABLE cursors", cursorsView}
}
