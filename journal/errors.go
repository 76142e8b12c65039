package journal

import "errors"

var (
	// ErrFull says that there is no room: the frame was not taken. It passes when space returns.
	ErrFull = errors.New("the journal is full")
	// ErrUnavailable says that the journal cannot write now, or that it is not known whether it wrote. It passes by
	// itself, or its cause says what to do.
	ErrUnavailable = errors.New("the journal is unavailable")
	// ErrConflict says that another control record came first: read the timeline and decide again.
	ErrConflict = errors.New("another control record came first")
	// ErrClosed says that Close was called.
	ErrClosed = errors.New("the journal is closed")
	// ErrPastEnd says that a reader was asked to begin beyond the journal's end: the reader's cursor belongs to another
	// journal, or this one has lost its tail.
	ErrPastEnd = errors.New("the journal ends before this sequence")
	// ErrNotFound says that a key was never written.
	ErrNotFound = errors.New("not found")
)
