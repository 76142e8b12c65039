// Package cmd is the program: its subcommands, and the flags, environment and signals that become their options.
//
// Invariant: only Main knows the process it runs in. Everything else takes its arguments, environment, streams and
// signals from Options, so that the whole program starts inside a test; and nothing here decides anything about
// events: each subcommand turns settings into some package's Options, calls it, and shows the result.
//
// A candidate build is a main package of its own that calls Main with an Extension.
package cmd
