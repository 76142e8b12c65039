// Package reserve keeps addresses of this machine for programs that must be told theirs before they start: an address it
// gave out is nobody else's until it is released, neither before the program has bound it nor while it is restarted.
//
// Linux gives a port that somebody is bound to neither to who asks for any port nor to an outgoing connection, but lets who
// asks for that very port listen on it, if both set SO_REUSEADDR (Go and nginx do) and the one bound does not listen. Closing
// a listener to use its port later promises nothing: on a busy machine somebody else has it by then.
package reserve

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Address returns a loopback address, "127.0.0.1:41234". Until release is called it can only be had by asking for it, and
// connections to it are refused unless somebody has.
func Address() (address string, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return "", nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", nil, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return "", nil, os.NewSyscallError("getsockname", err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port), func() { unix.Close(fd) }, nil
}

// ForTest returns an address that is reserved until the test ends.
func ForTest(t testing.TB) string {
	t.Helper()
	address, release, err := Address()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return address
}
