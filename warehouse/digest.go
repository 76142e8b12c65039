package warehouse

// DigestFrames is how many frames a digest covers, as the ledger's lines do: [n·1024, n·1024+1023].
const DigestFrames = 1024

// Reasons that say of an outcome why it need not look like that of another stack.
const (
	ReasonDryRun     = "dry-run"
	ReasonNotSampled = "not sampled"
	ReasonAgain      = "sent again after a crash"
)
