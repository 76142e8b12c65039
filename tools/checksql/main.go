// Command checksql has Google's own parser and analyser read the GoogleSQL that Sparrow generates, so that a name that is
// misspelt, a type that does not fit or a word of another dialect is found without a project at Google.
//
// Invariant: a statement passes only if the analyser resolves each of its names and types against what the statements
// before it made. Nothing about the schema is written here.
//
//	checksql [-default PROJECT.DATASET] [-prefix PREFIX] FILE.sql…
//
// -default is what a query's job takes names without a project, or without a dataset, to belong to. -prefix is what the
// names of datasets begin with where they are made; a statement may leave it out.
//
// Files are read in the order given, statements in the order in which they stand. What makes or replaces a table or view
// counts for all that follow; what reads is analysed and forgotten. The exit status is 1 if any statement was refused.
//
// What this does not show: that BigQuery has each function and feature that the published analyser has (it is the same
// code with everything released switched on), limits on size and depth, and what a statement answers.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	var o options
	flag.StringVar(&o.home, "default", "", "`project.dataset` of names that have none")
	flag.StringVar(&o.prefix, "prefix", "", "`what` datasets' names begin with, and statements may leave out")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: checksql [-default PROJECT.DATASET] [-prefix PREFIX] FILE.sql…")
		os.Exit(2)
	}
	os.Exit(run(o, flag.Args(), os.Stdout, os.Stderr))
}

// run checks files and returns the exit status.
func run(o options, files []string, out, errs io.Writer) int {
	a, err := newAnalyser(o)
	if err != nil {
		fmt.Fprintln(errs, "checksql:", err)
		return 2
	}
	status := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(errs, "checksql:", err)
			return 2
		}
		statements := split(string(text))
		if len(statements) == 0 {
			fmt.Fprintf(errs, "%s: holds no statement\n", file)
			status = 1
		}
		refused := 0
		for _, s := range statements {
			if err := a.check(s.text); err != nil {
				fmt.Fprintf(errs, "%s:%d: %v\n%s\n\n", file, s.line, err, s.text)
				refused++
			}
		}
		if refused > 0 {
			status = 1
		}
		fmt.Fprintf(out, "%s: %d statements, %d refused\n", file, len(statements), refused)
	}
	return status
}
