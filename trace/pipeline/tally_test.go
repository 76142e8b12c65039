package pipeline

import (
	"fmt"
	"sync"
	"testing"
)

func TestTallyCountsExactlyWhileThereIsRoom(t *testing.T) {
	tally := NewTally(10)
	for i := range 6 {
		for range i + 1 {
			tally.Add([]Unknown{{"e", fmt.Sprint(i), Unlisted}})
		}
	}
	top, rest := tally.Top(3)
	if len(top) != 3 || rest != 6 || top[0].Property != "5" || top[0].Count != 6 || top[0].Surplus != 0 || top[2].Count != 4 {
		t.Errorf("%+v, remainder %d", top, rest)
	}
	if all, rest := tally.Top(100); len(all) != 6 || rest != 0 {
		t.Errorf("%+v, remainder %d", all, rest)
	}
}

// A client that makes up a new name each time can neither grow the table nor push out what is seen often.
func TestTallyIsBounded(t *testing.T) {
	tally := NewTally(50)
	for i := range 100_000 {
		tally.Add([]Unknown{{Event: fmt.Sprint("made up ", i), Reason: UnknownEvent}})
		if i%20 == 0 { // one in twenty: above 1/50 of all
			tally.Add([]Unknown{{"pageview", "often", Unlisted}})
		}
	}
	if len(tally.table) != 50 || len(tally.heap) != 50 {
		t.Errorf("%d names in the table, %d in the heap", len(tally.table), len(tally.heap))
	}
	top, _ := tally.Top(50)
	if top[0].Property != "often" || top[0].Count < 5000 || top[0].Count-top[0].Surplus > 5000 {
		t.Errorf("%+v", top[0])
	}
	sum := uint64(0)
	for _, c := range top {
		sum += c.Count
	}
	if sum != 105_000 {
		t.Errorf("counts add up to %d", sum)
	}
}

func TestTallyConcurrently(t *testing.T) {
	tally := NewTally(0)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 1000 {
				tally.Add([]Unknown{{"e", "p", Unlisted}, {"e", "q", WrongType}})
				tally.Top(1)
			}
		})
	}
	group.Wait()
	top, rest := tally.Top(2)
	if top[0].Count != 4000 || top[1].Count != 4000 || rest != 0 {
		t.Errorf("%+v %d", top, rest)
	}
}
