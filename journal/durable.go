package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// What the embedded server leaves open about durability, and what is done about it.
//
// The server syncs a block file after each record, before it answers, and shows a record to readers only then. Two
// things are missing:
//
//   - A new block file's name is never synced. ext4 and xfs write it out together with the file; others need not, and
//     then a power cut takes the whole block. So the folder is synced before the answer, whenever it has changed.
//   - After a failed sync the kernel keeps the page but takes it for clean: the record can be read, a later sync
//     succeeds, and still it is on no disk. What is then appended behind it would be lost with it in a power cut. The
//     same page is left behind by a process that died between write and sync. So before a server is started, the last
//     block of each stream is written again in place, with the bytes it has, and synced. Only the last block can be
//     concerned, since a server stops writing a stream at its first error.

// messagesDir is the folder with a stream's block files.
func messagesDir(dir, stream string) string {
	return filepath.Join(dir, "nats", server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", stream, "msgs")
}

// streams are the names of all streams.
func streamNames() []string {
	return []string{mainStream, ledgerStream, sampledStream, recordsStream, stateStream}
}

// settleFolder makes sure that what a reader would find in the folder is also on the disk.
func settleFolder(dir string) error {
	for _, name := range streamNames() {
		msgs := messagesDir(dir, name)
		last, err := lastBlock(msgs)
		if err != nil {
			return fmt.Errorf("journal: stream %s: %w", name, err)
		}
		if last == "" {
			continue
		}
		if err := rewrite(last); err != nil {
			return fmt.Errorf("journal: writing the last block of stream %s again: %w", name, err)
		}
		if err := syncDir(msgs); err != nil {
			return fmt.Errorf("journal: stream %s: %w", name, err)
		}
	}
	return nil
}

// lastBlock returns the path of the block file with the highest number; empty if there is none.
func lastBlock(msgs string) (string, error) {
	names, err := os.ReadDir(msgs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	last, path := -1, ""
	for _, n := range names {
		number, ok := strings.CutSuffix(n.Name(), ".blk")
		if i, err := strconv.Atoi(number); ok && err == nil && i > last {
			last, path = i, filepath.Join(msgs, n.Name())
		}
	}
	return path, nil
}

// rewrite writes the file's own bytes over it, and syncs it. If that is cut short the file has still the same bytes.
func rewrite(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}

// syncTree syncs path and every folder in it, and the folder it is in: what a new journal's streams hang on.
func syncTree(path string) error {
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		return syncDir(name)
	})
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// dirs knows when the streams' folders were last synced.
type dirs struct {
	mu     sync.Mutex
	path   string // the journal's folder
	synced map[string]time.Time
}

// sync syncs the stream's folder if a name in it may have changed since the last time.
func (d *dirs) sync(stream string) error {
	msgs := messagesDir(d.path, stream)
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(msgs)
	if err != nil {
		return err
	}
	changed := info.ModTime()
	if changed.Equal(d.synced[stream]) {
		return nil
	}
	if err := syncDir(msgs); err != nil {
		return err
	}
	// Times are as coarse as the kernel's clock tick, 10 ms at most. Another change within the same tick would look like this one, so
	// a folder that changed just now is taken for changed again.
	if time.Since(changed) > 12*time.Millisecond {
		d.synced[stream] = changed
	}
	return nil
}
