package event_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
)

func TestPositionsSortInJournalOrder(t *testing.T) {
	want := []event.Position{
		{}, {Item: 1}, {Item: math.MaxUint32},
		{Request: 1}, {Request: 1, Item: 7}, {Request: math.MaxUint32},
		{Frame: 1}, {Frame: 1, Request: 0, Item: 1}, {Frame: 1, Request: 2},
		{Frame: 2}, {Frame: 10}, {Frame: math.MaxInt64}, {Frame: math.MaxUint64, Request: math.MaxUint32, Item: math.MaxUint32},
	}
	for i, p := range want {
		for j, q := range want {
			if got := p.Compare(q); got != cmp.Compare(i, j) {
				t.Errorf("%v.Compare(%v) = %d, want %d", p, q, got, cmp.Compare(i, j))
			}
		}
	}
	shuffled := slices.Clone(want)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.SortFunc(shuffled, event.Position.Compare)
	if !slices.Equal(shuffled, want) {
		t.Errorf("sorted: %v", shuffled)
	}
}

func TestCursorCoversExactlyWhatLiesBelow(t *testing.T) {
	for _, row := range []struct {
		cursor  event.Cursor
		frame   uint64
		request uint32
		covers  bool
	}{
		{event.Cursor{}, 0, 0, false},
		{event.Cursor{}, 1, 0, false},
		{event.Cursor{Frame: 1}, 1, 0, false},
		{event.Cursor{Frame: 1, Request: 1}, 1, 0, true},
		{event.Cursor{Frame: 1, Request: 1}, 1, 1, false},
		{event.Cursor{Frame: 2}, 1, math.MaxUint32, true},
		{event.Cursor{Frame: 2}, 2, 0, false},
		{event.AfterFrame(7), 7, math.MaxUint32, true},
		{event.AfterFrame(7), 8, 0, false},
	} {
		if got := row.cursor.Covers(row.frame, row.request); got != row.covers {
			t.Errorf("cursor %v covers (%d, %d): %v, want %v", row.cursor, row.frame, row.request, got, row.covers)
		}
	}
	for c, last := range map[event.Cursor]uint64{{}: 0, {Frame: 1}: 0, {Frame: 1, Request: 5}: 0, {Frame: 2}: 1, {Frame: 9, Request: 1}: 8} {
		if got := c.Last(); got != last {
			t.Errorf("cursor %v: last whole frame %d, want %d", c, got, last)
		}
	}
}

// A cursor moves over small frames one request at a time: at each step it covers exactly the requests passed so far.
func TestCursorWalk(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	type request struct {
		frame   uint64
		request uint32
	}
	var all []request
	for frame := uint64(1); frame <= 20; frame++ {
		for i := range r.Uint32N(4) {
			all = append(all, request{frame, i})
		}
	}
	for i, at := range all {
		c := event.Cursor{Frame: at.frame, Request: at.request}
		for j, q := range all {
			if got, want := c.Covers(q.frame, q.request), j < i; got != want {
				t.Fatalf("cursor %v covers %v: %v, want %v", c, q, got, want)
			}
		}
	}
}

func TestIDRoundTrip(t *testing.T) {
	u := uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")
	for _, row := range []struct {
		item uint32
		list bool
		want string
	}{
		{0, false, "01890a5d-ac96-774b-bcce-b302099a8057"},
		{0, true, "01890a5d-ac96-774b-bcce-b302099a8057-0"},
		{41, true, "01890a5d-ac96-774b-bcce-b302099a8057-41"},
		{math.MaxUint32, true, "01890a5d-ac96-774b-bcce-b302099a8057-4294967295"},
	} {
		id := event.ID(u, row.item, row.list)
		if id != row.want {
			t.Errorf("ID(%d, %v) = %s, want %s", row.item, row.list, id, row.want)
		}
		request, item, list, err := event.ParseID(id)
		if err != nil || request != u || item != row.item || list != row.list {
			t.Errorf("ParseID(%s) = %v, %d, %v, %v", id, request, item, list, err)
		}
	}
}

func TestIDSpellsTheUUIDAsUUIDDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 10))
	for range 1000 {
		id := randomID(r)
		if got := event.ID(id, 0, false); got != id.String() {
			t.Fatalf("%s, want %s", got, id)
		}
	}
}

func TestParseIDRefusesEveryOtherSpelling(t *testing.T) {
	const u = "01890a5d-ac96-774b-bcce-b302099a8057"
	for _, id := range []string{
		"", "x", u[:35], u + "-", u + "-x", u + "--1", u + "-1-2", u + "-4294967296", u + "-01", u + "-00", u + "-+1",
		u + "_1", u + " ", " " + u, u + "-1 ", u + "-1\x00", "01890A5D-AC96-774B-BCCE-B302099A8057",
		"01890a5dac96774bbcceb302099a8057", "{" + u + "}", "urn:uuid:" + u, u[:35] + "g", u[:35] + "\xff",
	} {
		if _, _, _, err := event.ParseID(id); err == nil {
			t.Errorf("ParseID(%q): no error", id)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("01890a5d-ac96-774b-bcce-b302099a8057-3")
	f.Add("01890a5d-ac96-774b-bcce-b302099a8057")
	f.Fuzz(func(t *testing.T, id string) {
		u, item, list, err := event.ParseID(id)
		if err == nil && event.ID(u, item, list) != id {
			t.Errorf("%q was read as %s", id, event.ID(u, item, list))
		}
	})
}

func TestStacks(t *testing.T) {
	for _, s := range event.Stacks() {
		if got, err := event.ParseStack(string(s)); err != nil || got != s {
			t.Errorf("ParseStack(%s) = %s, %v", s, got, err)
		}
		if s.Other() == s || s.Other().Other() != s {
			t.Errorf("the other of %s is %s", s, s.Other())
		}
	}
	for _, name := range []string{"", "Green", "red", "green "} {
		if _, err := event.ParseStack(name); err == nil {
			t.Errorf("ParseStack(%q): no error", name)
		}
	}
}

func ExampleID() {
	u := uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")
	fmt.Println(event.ID(u, 0, false))
	fmt.Println(event.ID(u, 2, true))
	// Output:
	// 01890a5d-ac96-774b-bcce-b302099a8057
	// 01890a5d-ac96-774b-bcce-b302099a8057-2
}
