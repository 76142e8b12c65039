package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

func TestNear(t *testing.T) {
	n := newNear([]string{"zone.delete", "zone.create", "pageview", "sign_up", "Order Completed", "ab", "über.uns"})
	for name, want := range map[string]string{
		"Zone.Delete": "zone.delete", "zone_delete": "zone.delete", "zoneDelete": "zone.delete", "ZONE DELETE": "zone.delete", "zone:delete": "zone.delete",
		"zone.delte": "zone.delete", "zone.deelete": "zone.delete", "zone.delets": "zone.delete", "zone.deltee": "zone.delete", "zone.deletes": "zone.delete",
		"page_view": "pageview", "$pageview": "pageview", "pageviews": "pageview", "signup": "sign_up", "order_completed": "Order Completed", "UBER.UNS": "", "Über.Uns": "über.uns",
		"zone.remove": "", "x": "", "": "", "abc": "", "...": "", strings.Repeat("zone.delete", 30): "", "\xff\xfe": "",
	} {
		if got := n.find(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// A look-up must not become slower with the allowlist: hostile names are looked up too.
func TestNearHoldsForLongLists(t *testing.T) {
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf("event.number.%d.happened", i))
	}
	n := newNear(names)
	for _, list := range n.deleted {
		if len(list) > 8 {
			t.Fatalf("%d names to compare with", len(list))
		}
	}
	if got := n.find("Event_Number_1234_Happend"); got != "event.number.1234.happened" {
		t.Errorf("%q", got)
	}
}
