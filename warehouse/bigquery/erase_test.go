package bigquery

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

var ann = warehouse.Person{Kind: warehouse.ByUser, ID: "ann@mail.example"}

// annsTraffic is traffic of which some events are Ann's, with outcomes and a correction, on both stacks. One event is of
// a time that no day's partition has.
func annsTraffic(t *testing.T, e *Engine) (n, hers int) {
	t.Helper()
	j := newTraffic(t, 30)
	for _, stack := range event.Stacks() {
		n, hers = 0, 0
		raw, ga4 := j.batch(stack, warehouse.Raw, event.Cursor{}, j.end()), j.batch(stack, "ga4", event.Cursor{}, j.end())
		for i := range raw.Rows {
			if n++; n%5 != 0 {
				continue
			}
			hers++
			r, o := &raw.Rows[i], &ga4.Outcomes[i]
			r.Event, r.Data = "order by ann", []byte(`{"userId":"ann@mail.example","properties":{"to":"Elm Street 7"}}`)
			o.Event, o.Request = r.Event, []byte("to ann")
			if hers == 3 {
				r.Timestamp, o.Timestamp = 1, 1
			}
		}
		late := &warehouse.Batch{Stack: stack, Stage: warehouse.Stage("ga4").Late(), Journal: "journal", To: event.Cursor{Frame: 1}, Outcomes: []warehouse.Outcome{ga4.Outcomes[4]}}
		late.Outcomes[0].Revision = 1
		for _, b := range []*warehouse.Batch{raw, ga4, late} {
			if _, err := e.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n, hers
}

func count(t *testing.T, e *Engine, sql string) int64 {
	t.Helper()
	var n int64
	if err := e.each(t.Context(), sql, func(r []any) error { n = r[0].(int64); return nil }); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// TestEraseResumes ends an erasure after each of its calls in turn: erasing again does the rest, whatever was left.
func TestEraseResumes(t *testing.T) {
	for at := 1; ; at += 19 {
		s := start(t, fake.Options{})
		e := open(t, options(s))
		n, hers := annsTraffic(t, e)
		marks := count(t, e, "SELECT COUNT(*) FROM green.raw_log WHERE cursorStage IS NOT NULL")
		s.Set(fake.Fault{Call: "jobs.insert", Kind: fake.Refused, Every: at, Times: 1})
		_, err := e.Erase(t.Context(), ann, "ops")
		struck := s.Hits() > 0
		s.Set()
		if struck && err == nil {
			t.Fatalf("call %d failed, the erasure did not", at)
		}
		if strings.Contains(fmt.Sprint(err), "ann@") {
			t.Errorf("the error names her: %v", err)
		}
		if _, err := e.Erase(t.Context(), ann, "ops"); err != nil {
			t.Fatal(err)
		}
		for _, stack := range event.Stacks() {
			for table, erased := range map[string]int{"raw_log": hers, "outcomes_log": hers, "corrections_log": 1} {
				from := fmt.Sprintf("SELECT COUNT(*) FROM %s.%s AS x WHERE ", stack, table)
				if got := count(t, e, from+"STRPOS(TO_JSON_STRING(x), 'ann') > 0"); got != 0 {
					t.Errorf("after call %d failed: %d rows of %s.%s still tell of her", at, got, stack, table)
				}
				if got := count(t, e, from+"erased = 1"); got != int64(erased) {
					t.Errorf("after call %d failed: %d tombstones in %s.%s, want %d", at, got, stack, table, erased)
				}
			}
			if got := count(t, e, fmt.Sprintf("SELECT COUNT(*) FROM %s.raw", stack)); got != int64(n) {
				t.Errorf("%d rows in %s.raw, want %d", got, stack, n)
			}
		}
		if got := count(t, e, "SELECT COUNT(*) FROM green.raw_log WHERE cursorStage IS NOT NULL"); got != marks {
			t.Errorf("%d marks, there were %d", got, marks)
		}
		for _, q := range s.Statements() {
			if strings.Contains(q, "ann@") {
				t.Errorf("a statement names her, and BigQuery keeps it: %s", q)
			}
		}
		e.Close()
		if !struck {
			if at < 10 {
				t.Errorf("an erasure makes %d calls only", at)
			}
			return
		}
	}
}

// TestEraseWaits has a server that refuses to change rows just written.
func TestEraseWaits(t *testing.T) {
	s := start(t, fake.Options{Fresh: 1})
	e := open(t, options(s))
	defer e.Close()
	_, hers := annsTraffic(t, e)
	var later *warehouse.LaterError
	if _, err := e.Erase(t.Context(), ann, "ops"); !errors.As(err, &later) || later.Rows == 0 || later.After == 0 {
		t.Fatalf("%v, want that it can be done later", err)
	}
	if got := count(t, e, "SELECT COUNT(*) FROM green.raw_log WHERE erased = 1"); got != 0 {
		t.Errorf("%d raw rows are gone, that tell where outcomes are", got)
	}
	for range 5 {
		if _, err := e.Erase(t.Context(), ann, "ops"); err == nil {
			break
		}
	}
	if got := count(t, e, "SELECT COUNT(*) FROM green.raw_log WHERE erased = 1"); got != int64(hers) {
		t.Errorf("%d tombstones, want %d", got, hers)
	}
}

// TestEraseCostsWhatItMay has a server whose statements scan more than one may.
func TestEraseCostsWhatItMay(t *testing.T) {
	s := start(t, fake.Options{Scanned: 5 << 30})
	o := options(s)
	o.MaxScanned = 4 << 30
	e := open(t, o)
	defer e.Close()
	if _, err := e.Erase(t.Context(), ann, "ops"); err == nil || !strings.Contains(err.Error(), "max_scanned") {
		t.Errorf("%v, want that it costs too much", err)
	}
}

// TestEraseLooksAgain appends an event of hers, and another outcome, after the erasure looked.
func TestEraseLooksAgain(t *testing.T) {
	s := start(t, fake.Options{})
	o := options(s)
	looked := 0
	var e *Engine
	o.looked = func() {
		if looked++; looked > 1 {
			return
		}
		j := newTraffic(t, 31)
		for _, stack := range event.Stacks() {
			raw := j.batch(stack, warehouse.Raw, event.Cursor{Frame: 32}, j.end())
			raw.Rows[0].Data = []byte(`{"userId":"ann@mail.example"}`)
			late := &warehouse.Batch{Stack: stack, Stage: warehouse.Stage("ga4").Late(), Journal: "journal", From: event.Cursor{Frame: 1}, To: event.Cursor{Frame: 2}, Outcomes: j.batch(stack, "ga4", event.Cursor{}, j.end()).Outcomes[4:5]}
			late.Outcomes[0].Revision, late.Outcomes[0].Event = 2, "by ann"
			for _, b := range []*warehouse.Batch{raw, late} {
				if _, err := e.Append(t.Context(), b); err != nil {
					t.Error(err)
				}
			}
		}
	}
	e = open(t, o)
	defer e.Close()
	_, hers := annsTraffic(t, e)
	out, err := e.Erase(t.Context(), ann, "ops")
	if err != nil || out.Events != hers+1 {
		t.Errorf("%+v, %v; want %d events", out, err, hers+1)
	}
	for _, table := range []string{"green.raw_log", "blue.raw_log", "green.corrections_log"} {
		if got := count(t, e, "SELECT COUNT(*) FROM "+table+" AS x WHERE STRPOS(TO_JSON_STRING(x), 'ann') > 0"); got != 0 {
			t.Errorf("%d rows of %s still tell of her", got, table)
		}
	}
}
