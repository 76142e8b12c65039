package config

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestChanged(t *testing.T) {
	a, b := Default(), Default()
	all := byKey(&a)
	for _, key := range live {
		if _, known := all[key]; !known {
			t.Errorf("there is no setting %s", key)
		}
	}
	if keys := Changed(a, b); keys != nil {
		t.Errorf("nothing has changed, got %v", keys)
	}
	b.Clients.Origins = []string{"https://a.example"}
	b.Clients.Rate.PerSecond = 7
	b.Journal.MaxAge = Duration(time.Hour)
	b.Stacks.Blue.Dispatcher.MaxItems = 5
	b.Warehouse.Threads = 3
	want := []string{"clients.origins", "clients.rate.per_second", "journal.max_age", "stacks.blue.dispatcher.max_items", "warehouse.threads"}
	got := Changed(a, b)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var restart *RestartError
	if err := Live(got, false); !errors.As(err, &restart) {
		t.Errorf("%v", err)
	} else if diff := cmp.Diff(want[2:], restart.Settings); diff != "" {
		t.Errorf("what takes a restart:\n%s", diff)
	}
	if err := Live(got, true); !errors.As(err, &restart) || len(restart.Settings) != 1 || restart.Settings[0] != "journal.max_age" {
		t.Errorf("what takes a restart of the mirror: %v", err)
	}
	if err := Live(got[:2], false); err != nil {
		t.Error(err)
	}
	a.Take(b, got[:2])
	if diff := cmp.Diff(want[2:], Changed(a, b)); diff != "" {
		t.Errorf("after taking the first two, what differs:\n%s", diff)
	}
}

// Sections of trackers come and go, so settings are told apart by their names, not by their places.
func TestChangedTrackers(t *testing.T) {
	a, b := Default(), Default()
	a.Trackers["aaa"] = a.Trackers.Of("aaa")
	b.Trackers["zzz"] = b.Trackers.Of("zzz")
	b.Clients.MaxHeaders = 7
	for _, way := range [][2]Config{{a, b}, {b, a}} {
		var others []string
		for _, key := range Changed(way[0], way[1]) {
			if !strings.HasPrefix(key, "trackers.aaa.") && !strings.HasPrefix(key, "trackers.zzz.") {
				others = append(others, key)
			}
		}
		if diff := cmp.Diff([]string{"clients.max_headers"}, others); diff != "" {
			t.Error(diff)
		}
	}
	if err := Live(Changed(a, b), true); err != nil {
		t.Errorf("accounts of trackers are none of the mirror's business: %v", err)
	}
	a.Take(b, []string{"clients.max_headers"})
	if a.Clients.MaxHeaders != 7 || a.Warehouse != b.Warehouse {
		t.Errorf("took %+v", a.Clients)
	}
}

// A name in the list that is no setting would be a promise nobody keeps.
func TestLiveSettingsExist(t *testing.T) {
	c := Default()
	known := map[string]bool{}
	for _, s := range Settings(&c) {
		known[s.Key] = true
	}
	for _, key := range live {
		if !known[key] {
			t.Errorf("%s is no setting", key)
		}
	}
}
