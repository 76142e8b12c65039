package reserve

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// Who asks for a reserved address gets it, again and again; while nobody listens there, connections are refused.
func TestReservedAddressCanBeHad(t *testing.T) {
	address := ForTest(t)
	for range 3 {
		if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("nobody listens on %s: %v, %v", address, c, err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := net.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("two listen on %s: %v, %v", address, other, err)
		}
		c.Close()
		l.Close()
	}
}

// Who asks for any address never gets it, however many ask: of as many addresses as a few hundred of them leave the kernel
// to choose from, each reserved one stays away.
func TestReservedAddressIsNobodyElses(t *testing.T) {
	ours := map[string]bool{}
	for range 300 {
		ours[ForTest(t)] = true
	}
	if len(ours) != 300 {
		t.Errorf("%d addresses of 300 are different", len(ours))
	}
	for range 5_000 { // one after another: the kernel begins anywhere in its range of 28,000
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l.Close(); ours[l.Addr().String()] {
			t.Fatalf("%s was given to somebody else", l.Addr())
		}
	}
}
