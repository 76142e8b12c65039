package duckdb

import (
	"testing"
	"time"
)

func TestExclusive(t *testing.T) {
	x := newExclusive()
	if !x.begin(nil) || x.idle() {
		t.Fatal("a query does not execute although nobody holds the memory")
	}
	release, alone := x.hold(time.Millisecond)
	if alone {
		t.Error("alone beside a query")
	}
	stop := make(chan struct{})
	close(stop)
	if x.begin(stop) {
		t.Error("a query begins while the memory is held")
	}
	got := make(chan bool)
	go func() {
		again, alone := x.hold(time.Minute)
		again()
		got <- alone
	}()
	x.end()
	if !<-got || !x.idle() {
		t.Error("not alone although the only query has ended")
	}
	began := make(chan bool)
	go func() { began <- x.begin(nil) }()
	release()
	if !<-began {
		t.Error("a query does not begin once the memory is free")
	}
}
