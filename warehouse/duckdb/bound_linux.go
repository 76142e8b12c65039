package duckdb

/*
#cgo CXXFLAGS: -std=c++17 -O2
#cgo LDFLAGS: -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=free
#cgo LDFLAGS: -Wl,--wrap=duckdb_je_malloc -Wl,--wrap=duckdb_je_realloc -Wl,--wrap=duckdb_je_free
void sparrow_memory_limit(long long n);
long long sparrow_memory_used(void);
void sparrow_memory_exempt(int on);
*/
import "C"

import (
	"runtime"
	"sync"
	"syscall"
)

// memory_limit bounds DuckDB's buffers, not what its functions build: SELECT list_sum(range(1000000000)) takes 8 GB of
// a database limited to 256 MiB, and SELECT repeat('x', 1000000) FROM range(1000000) takes 2 GB (tried). A query must
// not be able to take the machine, and the appends with it, so the allocations themselves are counted. Beyond the bound
// a large one fails, which DuckDB reports as that statement being out of memory; and queries that got there by small
// ones are stopped by their watchers. The writers are exempt.

// boundMemory changes by n how many bytes DuckDB may hold in this process; the bound is the sum over its engines.
func boundMemory(n int64) {
	bound.Lock()
	defer bound.Unlock()
	bound.bytes += n
	C.sparrow_memory_limit(C.longlong(bound.bytes))
}

var bound struct {
	sync.Mutex
	bytes int64
}

// memoryUsed is how many bytes DuckDB holds, give or take 128 KiB a thread.
func memoryUsed() int64 { return int64(C.sparrow_memory_used()) }

// exemptThread lets the calling goroutine, which stays on its thread from now on, allocate beyond the bound.
func exemptThread() {
	runtime.LockOSThread()
	C.sparrow_memory_exempt(1)
}

// yieldThread lets the calling goroutine, which stays on its thread from now on, run after everything else: appends
// come before queries. The thread ends with the goroutine. Threads that it starts inherit this.
func yieldThread() {
	runtime.LockOSThread()
	syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), 5) // at worst queries are not yielding
}
