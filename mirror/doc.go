// Package mirror is the front of Sparrow: it makes each client's request durable, answers, and hands every request to
// both stacks.
//
// Invariant: a client hears 2xx only after its request is synced in the journal; each stack gets the journal's requests
// in order and without gaps, and what it never gets stands under exactly one counted reason; and nothing one stack does
// is waited for by clients, by the other stack, or by the journal.
//
//	clients ─► intake ─► committer ─► journal ─┬─► feed green ─► dispatcher
//	                                           ├─► feed blue  ─► dispatcher
//	                                           └─► ledger (headers only) ─► totals, equation
//
// The mirror never looks inside a body.
package mirror
