// Package compare judges a candidate build by what it stored: it reads both stacks' datasets over one closed window of
// frames, raw rows and what became of each event at every stage after them, joins them by position, checks each against the
// journal's own ledger, and says PASS, FAIL or INCONCLUSIVE.
//
// Invariant: a verdict is evidence, and the absence of evidence is never PASS. No data, late data, a side that cannot be
// reached, mixed builds, a ledger that cannot answer, a difference that cannot be explained: each of them has its own
// reason, and none of them passes. Nothing here writes: Collect only reads, and Judge is a pure function.
//
//	window       [First … Last], frames, both ends included; closed once every cursor stands past Last
//	            ┌────────────────────────────────┐
//	journal     │ ledger: requests, Σ of id tails │   what was accepted
//	live        │ rows ─┐                        │   what each side stored, plus its holes: what the mirror
//	candidate   │ rows ─┴─ joined by position    │   knows that side never got
//	            ├────────────────────────────────┤
//	each stage  │ outcomes of live and candidate │   closed by its own cursors, paired in the latest
//	            │ joined by position             │   revision; decides if the policy needs it
//	            └────────────────────────────────┘
package compare
