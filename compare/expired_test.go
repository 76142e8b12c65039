package compare

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/warehouse"
)

// TestExpiredDays compares windows that reach into days that retention deleted: it is said, never counted as events that
// are missing, and a window that begins after them is judged as ever.
func TestExpiredDays(t *testing.T) {
	for _, where := range []string{"raw", "outcomes_log"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t)
			w.many(200, "pageview", "click")
			if where == "outcomes_log" {
				w.pass("ga4")
			}
			const last = 11
			e := w.store(
				fmt.Sprintf(`DELETE FROM green.%s WHERE frame <= %d`, where, last), // blue is behind with deleting
				fmt.Sprintf(`INSERT INTO expired VALUES ('green', '%s', DATE '2026-01-01', 3, 7, 0, TIMESTAMP '2026-03-01 00:00:00')`, where),
				fmt.Sprintf(`INSERT INTO expired VALUES ('green', '%s', DATE '2026-01-02', 8, %d, 0, TIMESTAMP '2026-03-01 00:00:00')`, where, last))
			for _, from := range []uint64{3, 9, last} {
				ev, v := w.verdict(e, Options{Window: WindowSpec{From: from, To: 20}})
				want := fmt.Sprintf("up to 2026-01-02, frame %d, were deleted (setting warehouse.retention); begin the window at frame %d or later", last, last+1)
				if v.Outcome != Inconclusive || len(ev.Unsettled) == 0 || !strings.Contains(ev.Unsettled[0], want) {
					t.Errorf("from %d: %s, %s; %q, want %q", from, v.Outcome, v.Summary, ev.Unsettled, want)
				}
				if !ev.Ledger.Complete || ev.Ledger.Requests == 0 {
					t.Errorf("from %d: %+v was counted, which the mirror would not take", from, ev.Ledger)
				}
				if v.Judged != 0 || ev.Lost.Events != 0 || ev.Live.Absent != 0 {
					t.Errorf("from %d: %d events judged, %d lost", from, v.Judged, ev.Lost.Events)
				}
			}
			ev, v := w.verdict(e, Options{Window: WindowSpec{From: last + 1, To: 20}})
			if v.Outcome != Pass {
				t.Errorf("what is kept: %s, %s, %v", v.Outcome, v.Summary, ev.Unsettled)
			}
		})
	}
}

// forgetful is a warehouse whose retention deletes a day between the first statement that asks about that and the next.
type forgetful struct {
	Warehouse
	asked int
}

func (f *forgetful) Query(ctx context.Context, q warehouse.Query) (*warehouse.Rows, error) {
	if strings.Contains(q.SQL, "FROM expired") {
		if f.asked++; f.asked > 1 {
			q.SQL = strings.Replace(q.SQL, "FROM expired", `FROM (SELECT 'raw' AS "table", DATE '2026-01-02' AS "day", 3 AS "first", 11 AS "last")`, 1)
		}
	}
	return f.Warehouse.Query(ctx, q)
}

// TestExpiresWhileReading has retention delete a day of the window after compare has looked: both sides lose the same, so
// that nothing differs, and all the same it is no PASS.
func TestExpiresWhileReading(t *testing.T) {
	w := newWorld(t)
	w.many(200, "pageview", "click")
	e := &forgetful{Warehouse: w.store()}
	ev, v := w.verdict(e, Options{})
	if v.Outcome != Inconclusive || len(ev.Unsettled) != 1 || !strings.Contains(ev.Unsettled[0], "raw rows up to 2026-01-02, frame 11, were deleted") {
		t.Errorf("%s, %s; %q, after %d questions", v.Outcome, v.Summary, ev.Unsettled, e.asked)
	}
}
