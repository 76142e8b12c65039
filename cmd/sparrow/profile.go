//go:build profile

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profiled runs the program and, where PPROF_DIR names a folder, leaves a CPU profile of it there; a build with the tag
// profile alone has this; see docs/benchmarks.md.
func profiled(run func() int) int {
	dir := os.Getenv("PPROF_DIR")
	if dir == "" {
		return run()
	}
	name := "sparrow"
	if len(os.Args) > 1 {
		name = filepath.Base(os.Args[1])
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s.%d.pprof", name, os.Getpid())))
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no profile:", err)
		return run()
	}
	defer f.Close()
	defer pprof.StopCPUProfile()
	return run()
}
