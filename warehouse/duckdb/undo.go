package duckdb

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A checkpoint of DuckDB 1.5 writes what is new into free blocks, and last a header that names them; but the blocks that
// hold its metadata it writes in place, as soon as they have any room. A kill or a power cut amid such a write leaves a
// block of which neither the old nor the new is whole, and with it a file that does not open: one kill in some 500, if
// checkpoints run all the time. So their before-images are put into an undo file first, and put back when the file is next
// opened, as far as they are torn. See docs/decisions/0021-checkpoints.md.

// The file begins with three pages: the main header, and two headers of which the one with the higher iteration counts; a
// checkpoint writes the other one, whose 64 bytes no crash divides. Each page and each block begins with its checksum.
// (DuckDB 1.5.5, src/storage/single_file_block_manager.cpp)
const (
	pageSize   = 4096
	headerSize = 3 * pageSize
	undoMagic  = "sparrow undo 1\n\x00"
)

// undoPath is where the before-images of a database file's blocks are.
func undoPath(path string) string { return path + ".undo" }

// undo saves before-images of the blocks that the next checkpoint may write in place.
type undo struct {
	path string
	file *os.File // the database, to read from
}

func newUndo(path string) (*undo, error) {
	f, err := os.Open(path)
	return &undo{path, f}, err
}

// close must come after DuckDB closed the file: closing any descriptor of it drops the lock that DuckDB has on it.
func (u *undo) close() { u.file.Close() }

// save makes the before-images durable. No other checkpoint may run, from here to the end of the one that they are for.
func (u *undo) save(c *conn) error {
	head := make([]byte, headerSize)
	if _, err := u.file.ReadAt(head, 0); err != nil {
		return fmt.Errorf("header of %s: %w", u.path, err)
	}
	now := newest(head)
	if now == nil {
		return fmt.Errorf("%s: neither header is whole", u.path)
	}
	size, err := blockSize(now)
	if err != nil {
		return fmt.Errorf("header of %s: %w", u.path, err)
	}
	var image bytes.Buffer
	image.WriteString(undoMagic)
	image.Write(now)
	block := make([]byte, size)
	err = c.rows("SELECT block_id FROM pragma_metadata_info() WHERE free_blocks > 0 ORDER BY 1", nil, func(r []any) error {
		id := r[0].(int64)
		n, err := u.file.ReadAt(block, offset(id, size))
		if errors.Is(err, io.EOF) && n < len(block) {
			return nil // not written yet, so no header names it
		}
		if err != nil {
			return err
		}
		if !whole(block) {
			return nil // nor this one
		}
		image.Write(binary.LittleEndian.AppendUint64(nil, uint64(id)))
		image.Write(block)
		return nil
	})
	if err != nil {
		return fmt.Errorf("blocks of %s: %w", u.path, err)
	}
	sum := sha256.Sum256(image.Bytes())
	image.Write(sum[:])
	return writeSynced(undoPath(u.path), image.Bytes())
}

// writeSynced makes a file durable, its name included. The file must not matter until this returns: so it is written in place,
// which, unlike service.WriteFile, leaves nothing behind at a kill and syncs the folder only once.
func writeSynced(path string, data []byte) (err error) {
	_, missing := os.Stat(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(data))); err != nil {
		return err
	}
	if err := f.Sync(); err != nil || missing == nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// putBack mends a database file in which a checkpoint that did not end has left torn blocks, and returns how many. It
// touches nothing else: a block is put back only if it is torn, and only under the header that it was saved under. The
// database must not be open.
func putBack(path string) (torn int, err error) {
	image, err := os.ReadFile(undoPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	body, ok := bytes.CutPrefix(image, []byte(undoMagic))
	end := len(image) - sha256.Size
	if !ok || len(body) < pageSize+sha256.Size || sha256.Sum256(image[:end]) != [sha256.Size]byte(image[end:]) {
		return 0, nil // it was being written, and the checkpoint had not begun
	}
	body = body[:len(body)-sha256.Size]
	was, body := body[:pageSize], body[pageSize:]
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	// The lock that DuckDB takes. Another program that has the file open may be amid a write of its own.
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		return 0, nil // opening it will say so
	}
	head := make([]byte, headerSize)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if !bytes.Equal(was, newest(head)) {
		return 0, nil // the checkpoint ended, or this is another file
	}
	size, err := blockSize(was)
	if err != nil {
		return 0, err
	}
	have := make([]byte, size)
	for ; len(body) >= 8+size; body = body[8+size:] {
		at := offset(int64(binary.LittleEndian.Uint64(body)), size)
		if _, err := f.ReadAt(have, at); err != nil {
			return torn, err
		}
		if whole(have) {
			continue
		}
		torn++
		if _, err := f.WriteAt(body[8:8+size], at); err != nil {
			return torn, err
		}
	}
	if torn == 0 {
		return 0, nil
	}
	return torn, f.Sync()
}

// newest returns the header that counts, of the three pages that a file begins with; nil if none is whole.
func newest(head []byte) (page []byte) {
	iteration := func(page []byte) uint64 { return binary.LittleEndian.Uint64(page[8:]) }
	for at := pageSize; at < headerSize; at += pageSize {
		if p := head[at : at+pageSize]; whole(p) && (page == nil || iteration(p) >= iteration(page)) {
			page = p
		}
	}
	return page
}

// blockSize is the size of a block, by a header: after the checksum come the iteration, the first metadata block, the
// list of free blocks, the number of blocks, and this.
func blockSize(page []byte) (int, error) {
	n := binary.LittleEndian.Uint64(page[8+4*8:])
	if n < pageSize || n > 1<<20 || n%pageSize != 0 {
		return 0, fmt.Errorf("blocks of %d bytes", n)
	}
	return int(n), nil
}

// offset is where a block is.
func offset(id int64, size int) int64 { return headerSize + id*int64(size) }

// whole reports whether a page or block is what its checksum says. (DuckDB 1.5.5, src/common/checksum.cpp)
func whole(block []byte) bool {
	sum := uint64(5381)
	for rest := block[8:]; len(rest) >= 8; rest = rest[8:] {
		sum ^= binary.LittleEndian.Uint64(rest) * 0xbf58476d1ce4e5b9
	}
	return sum == binary.LittleEndian.Uint64(block)
}
