package bigquery

import (
	"fmt"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

// TestExpiredIsTold has a day expire: its rows are gone, the view expired says which frames they had, and cursors and an
// event whose time is in no day stay.
func TestExpiredIsTold(t *testing.T) {
	s := start(t, fake.Options{})
	o := options(s)
	o.Retention = Retention{Raw: 3}
	e := open(t, o)
	defer e.Close()
	j := newTraffic(t, 20)
	now := time.Now()
	var kept int64
	from := event.Cursor{}
	for _, to := range []event.Cursor{{Frame: 12}, j.end()} {
		b := j.batch(event.Green, warehouse.Raw, from, to)
		for i := range b.Rows {
			if from.Frame == 0 {
				b.Rows[i].Timestamp = now.AddDate(0, 0, -10).UnixMicro()
			}
		}
		if from.Frame == 0 {
			b.Rows[3].Timestamp = 1
			kept++
		} else {
			kept += int64(len(b.Rows))
		}
		if _, err := e.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		from = to
	}
	if n := count(t, e, "SELECT COUNT(*) FROM green.raw"); n != kept {
		t.Errorf("%d rows, want %d", n, kept)
	}
	if n := count(t, e, "SELECT frame FROM cursors WHERE stack = 'green' AND stage = 'raw'"); n != int64(j.end().Frame) {
		t.Errorf("the cursor stands at %d", n)
	}
	var told []string
	err := e.each(t.Context(), "SELECT stack, `table`, `first`, `last` FROM expired", func(r []any) error {
		told = append(told, fmt.Sprint(r...))
		return nil
	})
	if want := fmt.Sprint("green", "raw", int64(2), int64(11)); err != nil || len(told) != 1 || told[0] != want {
		t.Errorf("told %v, %v; want %s", told, err, want)
	}
}
