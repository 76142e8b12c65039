// Package journal is the durable, ordered log of accepted requests, and of the control records that say which stack is
// live: a leaf over NATS JetStream, embedded in the process or a cluster.
//
// Invariant: what Publish or AppendControl returned a sequence for is on disk, and stays at that sequence; a Reader
// accounts for every sequence from where it began, in order, each exactly once: as a frame, a control record, or a
// part of a gap that trimming left.
//
// Five streams share one server. Only the first has an order that matters to others:
//
//	sparrow          sparrow.frames, sparrow.control   one sequence over both; never deleted but by Trim, frames only
//	sparrow-ledger   sparrow.log.ledger                kept for Options.LedgerAge
//	sparrow-sampled  sparrow.log.sampled.*             kept as long
//	sparrow-records  sparrow.log.dead.*, .verdict, …   kept for ever
//	sparrow-state    sparrow.state.>                   the last value of each key
//
// The folder, all of it private to the owner (0700):
//
//	DIR/lock       held with flock while a process has the journal open
//	DIR/format     the format number of everything below
//	DIR/ballast    space kept back, given up piece by piece when a control record must be written on a full disk
//	DIR/nats/      the embedded server's own store
//
// A stream begins with the control record that makes green live, at Options.FirstFrame where that says so; the journal's
// id is in the stream's metadata.
//
// After an error of the disk the embedded server writes nothing more until it is restarted in process, which the keeper
// does at once, and readers do not notice. What the server leaves open about durability is in durable.go.
//
// The control record is what makes a rollback work, so everything here leaves room for it: frames are refused at 95 %
// of the stream's limit and while the disk has less than Options.MinFree, and the ballast is for control records (and
// for the trimming that frees space) alone.
package journal
