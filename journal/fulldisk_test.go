package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sparrowhq/sparrow/event"
)

const inNamespace = "SPARROW_JOURNAL_NAMESPACE"

// onSmallDisk runs the calling test again in a mount namespace of its own, where it may mount what it likes and leaves
// nothing behind. It returns false in the process that only waits for the other.
func onSmallDisk(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=120s")
	c.Env = append(os.Environ(), inNamespace+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := c.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || strings.Contains(string(out), notAllowed) {
		t.Skip("skip: needs root, or user namespaces (sysctl kernel.unprivileged_userns_clone=1), to mount a small file system")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if _, why, skipped := strings.Cut(string(out), "skip: "); skipped {
		why, _, _ = strings.Cut(why, "\n")
		t.Skip("skip: in part: " + why)
	}
	return false
}

const notAllowed = "may not mount"

// smallDisk mounts an empty file system of so many MiB. tmpfs finds out about the end of the disk at each write; ext4,
// which allocates late and frees late, needs root and a loop device.
func smallDisk(t *testing.T, kind string, megabytes int) string {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("%s: %v", notAllowed, err)
	}
	dir := t.TempDir()
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	if kind == "tmpfs" {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
			t.Fatalf("%s: %v", notAllowed, err)
		}
		return dir
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, int64(megabytes)<<20); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs." + kind, "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("skip: needs root, mkfs.%s and a loop device: %s: %v %s", kind, args[0], err, out)
		}
	}
	return dir
}

// disks runs a test on each kind of small disk, with frames stopping in time and with frames that meet the end.
func disks(t *testing.T, test func(t *testing.T, disk string, minFree int64)) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		for name, minFree := range map[string]int64{"frames stop in time": 4 << 20, "frames meet the end": 1} {
			t.Run(kind+"/"+name, func(t *testing.T) { test(t, kind, minFree) })
		}
	}
}

// fill takes all the space there is, as somebody else would, and returns the file that has it.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "somebody-elses-*")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := rand.NewChaCha8([32]byte{})
	for size := int64(1 << 20); size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = io.CopyN(f, noise, size)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	return f.Name()
}

func freeBytes(t *testing.T, j *Journal) int64 {
	t.Helper()
	n, err := j.folder.free()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// publishUntil publishes frames of size bytes until one is refused, and returns those acknowledged and the refusal.
func publishUntilRefused(t *testing.T, j *Journal, size int) (acknowledged []Entry, refusal error) {
	t.Helper()
	for {
		b, totals := frame(t, fmt.Sprint(len(acknowledged)), size)
		n, err := j.Publish(t.Context(), b, totals)
		if err != nil {
			return acknowledged, err
		}
		acknowledged = append(acknowledged, Entry{Sequence: n, Kind: Frame, Data: b, Totals: totals, First: n, Last: n})
	}
}

// publishWithin publishes a frame as soon as one is taken.
func publishWithin(t *testing.T, j *Journal, d time.Duration) Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	b, totals := frame(t, "after", 0)
	for {
		n, err := j.Publish(ctx, b, totals)
		if err == nil {
			return Entry{Sequence: n, Kind: Frame, Data: b, Totals: totals, First: n, Last: n}
		}
		if ctx.Err() != nil {
			t.Fatalf("no frame taken within %s: %v", d, err)
		}
		time.Sleep(20 * time.Millisecond) // as a client that was told to come back
	}
}

// checkFrames reads the journal and finds each of want.
func checkFrames(t *testing.T, j *Journal, want []Entry) {
	t.Helper()
	b, err := j.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := j.Read(1)
	defer r.Close()
	for _, e := range read(t, r, b.Last, 1<<20) {
		if len(want) == 0 || e.Sequence < want[0].Sequence {
			continue
		}
		if e.Sequence > want[0].Sequence || e.Kind != Frame || e.Totals != want[0].Totals || !bytes.Equal(e.Data, want[0].Data) {
			t.Fatalf("frame %d was acknowledged; read was a %s at %d with totals %v, want %v", want[0].Sequence, e.Kind, e.Sequence, e.Totals, want[0].Totals)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Fatalf("%d frames from %d on were acknowledged; the journal ends at %d", len(want), want[0].Sequence, b.Last)
	}
}

func smallOptions(dir string, minFree int64) Options {
	o := options(filepath.Join(dir, "journal"))
	o.MinFree, o.Ballast = minFree, 2<<20
	return o
}

func TestFullDisk(t *testing.T) {
	if !onSmallDisk(t) {
		return
	}
	disks(t, func(t *testing.T, disk string, minFree int64) {
		j := open(t, smallOptions(smallDisk(t, disk, 48), minFree))
		frames, refusal := publishUntilRefused(t, j, 64<<10)
		if !errors.Is(refusal, ErrFull) && (minFree > 1 || !errors.Is(refusal, ErrUnavailable)) {
			t.Fatalf("on a full disk: %v", refusal)
		}
		t.Logf("%d frames, then: %v", len(frames), refusal)
		if len(frames) < 400 {
			t.Errorf("only %d frames of 64 KiB on a disk of 48 MiB", len(frames))
		}
		if n := freeBytes(t, j); minFree > 1 && n < minFree {
			t.Errorf("%d bytes free, frames should have left %d", n, minFree)
		}
		cutover(t, j)
		checkFrames(t, j, frames)
		if _, err := j.Trim(t.Context(), frames[len(frames)/2].Sequence); err != nil {
			t.Fatal(err)
		}
		frames = append(frames[len(frames)/2+1:], publishWithin(t, j, 10*time.Second))
		checkFrames(t, j, frames)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		checkFrames(t, open(t, j.again()), frames)
	})
}

func TestSomebodyElseFillsTheDisk(t *testing.T) {
	if !onSmallDisk(t) {
		return
	}
	disks(t, func(t *testing.T, disk string, minFree int64) {
		dir := smallDisk(t, disk, 48)
		j := open(t, smallOptions(dir, minFree))
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan []Entry, 1)
		go func() { // traffic all along
			var frames []Entry
			for i := 0; ctx.Err() == nil; i++ {
				b, totals := frame(t, fmt.Sprint(i), 3000)
				n, err := j.Publish(t.Context(), b, totals)
				if err == nil {
					frames = append(frames, Entry{Sequence: n, Kind: Frame, Data: b, Totals: totals, First: n, Last: n})
				} else if !errors.Is(err, ErrFull) && !errors.Is(err, ErrUnavailable) {
					t.Error(err)
					break
				}
			}
			done <- frames
		}()
		var theirs []string
		for range 3 { // each time they take what was given back for the record before
			theirs = append(theirs, fill(t, dir))
			began := time.Now()
			cutover(t, j)
			t.Logf("a control record in %s, %d bytes free after it", time.Since(began), freeBytes(t, j))
		}
		theirs = append(theirs, fill(t, dir))
		stop()
		frames := <-done
		checkFrames(t, j, frames)
		if _, err := j.Publish(t.Context(), []byte("x"), event.Totals{}); !errors.Is(err, ErrFull) && !errors.Is(err, ErrUnavailable) {
			t.Errorf("Publish without a byte free: %v", err)
		}
		j.Close()

		j = open(t, j.again()) // a restart without a byte free
		checkFrames(t, j, frames)
		if err := j.Accepting(); !errors.Is(err, ErrFull) {
			t.Errorf("accepting without a byte free: %v", err)
		}
		cutover(t, j)
		for _, name := range theirs {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		frames = append(frames, publishWithin(t, j, 10*time.Second))
		checkFrames(t, j, frames)
		if n := j.folder.ballast.size(); n != 2<<20 {
			t.Errorf("%d bytes kept back, want 2 MiB again", n)
		}
		tl, err := j.Timeline(t.Context())
		if err != nil || len(tl.Records()) != 5 {
			t.Errorf("the timeline has %d records, want 5; %v", len(tl.Records()), err)
		}
	})
}

func TestNewJournalOnAFullDiskSaysSo(t *testing.T) {
	if !onSmallDisk(t) {
		return
	}
	dir := smallDisk(t, "tmpfs", 4)
	fill(t, dir)
	if j, err := Open(t.Context(), smallOptions(dir, 1)); err == nil {
		j.Close()
		t.Error("Open made a journal without a byte free")
	} else if !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Open: %v", err)
	}
}
