package bigquery

// What the engine reads for itself. Every statement that goes to BigQuery is made by a method of names, and stands in
// testdata, where Google's analyser reads it; a test watches that there are no others.

// journals reads those seen.
func (n names) journals() string {
	return "SELECT id, first, highest FROM " + n.in(shared, "journals") + " ORDER BY first"
}

// records reads the timeline. Not the view: two different records at one place must be seen.
func (n names) records() string {
	return "SELECT DISTINCT sequence, record FROM " + n.table(timelineLog) + " ORDER BY sequence"
}

// properties reads what Normalise kept.
func (n names) properties() string {
	return "SELECT stack, revision, properties FROM " + n.table(normalizedLog) + " ORDER BY revision"
}

// arrived is how many rows the marks of a stream, a parameter, tell of.
func (n names) arrived(t table) string {
	return "SELECT COALESCE(MAX(cursorEnd), 0) FROM " + n.marksIn(t) + " AND cursorStream = ?"
}

// cursors reads where the cursors of a log stand.
func (n names) cursors(t table) string {
	return "SELECT run, cursorStage, frame, request, item FROM " + n.marksIn(t) +
		"\nQUALIFY ROW_NUMBER() OVER (PARTITION BY run, cursorStage ORDER BY frame DESC, request DESC, item DESC) = 1"
}

func (n names) marksIn(t table) string {
	return n.table(t) + " WHERE `timestamp` IS NULL AND cursorStage IS NOT NULL"
}
