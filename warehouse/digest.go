package warehouse

import "context"

// DigestFrames is how many frames a digest covers, as the ledger's lines do: [n·1024, n·1024+1023].
const DigestFrames = 1024

// Reasons that say of an outcome why it need not look like that of another stack.
const (
	ReasonDryRun     = "dry-run"
	ReasonNotSampled = "not sampled"
	ReasonAgain      = "sent again after a crash"
)

// Digester is an engine that may keep digests: for each stack, stage, event name and closed bucket of frames the number of
// rows and the sum of a 64-bit hash of each, read back from what it stored, in the table digests of the stack's schema.
// compare does not look at the rows of buckets that both stacks' digests say are alike.
type Digester interface {
	// DigestFrames returns how many frames a digest covers; 0: the engine keeps none, and compare reads rows.
	DigestFrames(ctx context.Context) (uint64, error)
}

// DigestMaker is a Digester that makes digests when it is asked to, and not as rows are stored.
type DigestMaker interface {
	// MakeDigests makes the digests of both stacks that are lacking of closed buckets within the frames first to last, both
	// included, reading the rows back as they are stored. It blocks until they can be read, and may be called concurrently.
	// An error takes nothing away: what has no digest is compared by its rows.
	MakeDigests(ctx context.Context, first, last uint64) error
}
