package compare

import (
	"context"
	"strconv"
)

// expired reports whether retention has deleted anything of the window, and if so says what, and where to begin instead.
func (c *collector) expired(ctx context.Context) (gone bool, err error) {
	if c.sql.expiredTable == "" || c.ev.Window.Empty() {
		return false, nil
	}
	err = c.query(ctx, c.sql.expired(c.ev.Window), func(r *row) {
		gone = true
		what := map[string]string{"raw": "raw rows", "outcomes_log": "outcomes"}[r.text(0)]
		c.unsettled("the window reaches into days that the warehouse no longer keeps: %s up to %s, frame %d, were deleted (setting warehouse.retention); begin the window at frame %d or later", what, r.text(1), r.count(2), r.count(2)+1)
	})
	return gone, err
}

// expired finds out up to where the rows of each table have been deleted, if that is within the window. Frames are
// received in order, and days deleted in order, so all of the window that lies below is in question.
func (d dialect) expired(w Window) string {
	return `SELECT "table", ` + d.text(`MAX("day")`) + ` AS through, MAX("last") AS last
FROM ` + d.expiredTable + `
WHERE "last" >= ` + strconv.FormatUint(w.First, 10) + ` AND "first" <= ` + strconv.FormatUint(w.Last, 10) + `
GROUP BY "table"
ORDER BY "table" DESC`
}
