//go:build !linux

package duckdb

import "runtime"

// Elsewhere than on Linux queries are bounded by DuckDB's own memory_limit only, which does not count everything.

func boundMemory(int64) {}
func memoryUsed() int64 { return 0 }
func exemptThread()     { runtime.LockOSThread() }
func yieldThread()      { runtime.LockOSThread() }
