// Replacements for the functions by which DuckDB gets memory, see bound_linux.go.
//
// There are three sources. DuckDB's own allocator calls its own copy of jemalloc; the libraries inside it call malloc:
// both are wrapped by the linker, for the code that is linked in statically. The containers of its C++ code call operator
// new, which is replaced for the whole program, as the C++ standard allows, so that what libstdc++.so allocates and
// DuckDB frees is counted on both sides.
//
// Everything is counted. Only requests of at least `large` bytes are refused: code is prepared for those to fail, while
// a refused handful of bytes may end the process. What grows by small blocks is stopped by whoever watches the count.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <malloc.h>
#include <new>

extern "C" {
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void __real_free(void *);
void *__real_duckdb_je_malloc(size_t);
void *__real_duckdb_je_realloc(void *, size_t);
void __real_duckdb_je_free(void *);
size_t duckdb_je_malloc_usable_size(const void *);
}

namespace {

constexpr size_t large = 128 << 10;

std::atomic<long long> used{0};
std::atomic<long long> limit{0}; // 0: none
thread_local bool exempt = false;

// Tally is a thread's share of `used` that is not added yet, so that a small block costs no shared write.
struct Tally {
	long long pending = 0;

	void add(long long n) {
		pending += n;
		if (pending > (long long)large || pending < -(long long)large) {
			flush();
		}
	}
	void flush() {
		used.fetch_add(pending, std::memory_order_relaxed);
		pending = 0;
	}
	~Tally() { flush(); }
};

thread_local Tally tally;

// allowed reports whether n more bytes may be had.
bool allowed(size_t n) {
	if (n < large || exempt) {
		return true;
	}
	long long most = limit.load(std::memory_order_relaxed);
	return most == 0 || used.load(std::memory_order_relaxed) + (long long)n <= most;
}

// Source is one way to get memory.
template <void *(*Malloc)(size_t), void *(*Realloc)(void *, size_t), void (*Free)(void *), size_t (*Size)(void *)>
struct Source {
	static size_t size(void *p) { return p ? Size(p) : 0; }

	static void *get(size_t n) {
		if (!allowed(n)) {
			return nullptr;
		}
		void *p = Malloc(n);
		tally.add((long long)size(p));
		return p;
	}

	static void *resize(void *p, size_t n) {
		size_t before = size(p);
		if (n > before && !allowed(n - before)) {
			return nullptr;
		}
		void *q = Realloc(p, n);
		if (q || n == 0) {
			tally.add((long long)size(q) - (long long)before);
		}
		return q;
	}

	static void drop(void *p) {
		tally.add(-(long long)size(p));
		Free(p);
	}
};

size_t jemallocSize(void *p) { return duckdb_je_malloc_usable_size(p); }

using Libc = Source<__real_malloc, __real_realloc, __real_free, malloc_usable_size>;
using Jemalloc = Source<__real_duckdb_je_malloc, __real_duckdb_je_realloc, __real_duckdb_je_free, jemallocSize>;

void *aligned(size_t n, size_t alignment) {
	if (!allowed(n)) {
		return nullptr;
	}
	void *p = nullptr;
	if (posix_memalign(&p, alignment < sizeof(void *) ? sizeof(void *) : alignment, n) != 0) {
		p = nullptr;
	}
	tally.add((long long)Libc::size(p));
	return p;
}

void *required(void *p) {
	if (!p) {
		throw std::bad_alloc();
	}
	return p;
}

} // namespace

extern "C" {

void *__wrap_malloc(size_t n) { return Libc::get(n); }
void *__wrap_realloc(void *p, size_t n) { return Libc::resize(p, n); }
void __wrap_free(void *p) { Libc::drop(p); }

void *__wrap_calloc(size_t count, size_t size) {
	size_t n = 0;
	if (__builtin_mul_overflow(count, size, &n) || !allowed(n)) {
		return nullptr;
	}
	void *p = __real_calloc(count, size);
	tally.add((long long)Libc::size(p));
	return p;
}

void *__wrap_duckdb_je_malloc(size_t n) { return Jemalloc::get(n); }
void *__wrap_duckdb_je_realloc(void *p, size_t n) { return Jemalloc::resize(p, n); }
void __wrap_duckdb_je_free(void *p) { Jemalloc::drop(p); }

void sparrow_memory_limit(long long n) { limit.store(n); }
long long sparrow_memory_used(void) { return used.load(); }
void sparrow_memory_exempt(int on) { exempt = on != 0; }

} // extern "C"

void *operator new(size_t n) { return required(Libc::get(n ? n : 1)); }
void *operator new[](size_t n) { return required(Libc::get(n ? n : 1)); }
void *operator new(size_t n, const std::nothrow_t &) noexcept { return Libc::get(n ? n : 1); }
void *operator new[](size_t n, const std::nothrow_t &) noexcept { return Libc::get(n ? n : 1); }
void *operator new(size_t n, std::align_val_t a) { return required(aligned(n ? n : 1, (size_t)a)); }
void *operator new[](size_t n, std::align_val_t a) { return required(aligned(n ? n : 1, (size_t)a)); }
void *operator new(size_t n, std::align_val_t a, const std::nothrow_t &) noexcept { return aligned(n ? n : 1, (size_t)a); }
void *operator new[](size_t n, std::align_val_t a, const std::nothrow_t &) noexcept { return aligned(n ? n : 1, (size_t)a); }
void operator delete(void *p) noexcept { Libc::drop(p); }
void operator delete[](void *p) noexcept { Libc::drop(p); }
void operator delete(void *p, size_t) noexcept { Libc::drop(p); }
void operator delete[](void *p, size_t) noexcept { Libc::drop(p); }
void operator delete(void *p, const std::nothrow_t &) noexcept { Libc::drop(p); }
void operator delete[](void *p, const std::nothrow_t &) noexcept { Libc::drop(p); }
void operator delete(void *p, std::align_val_t) noexcept { Libc::drop(p); }
void operator delete[](void *p, std::align_val_t) noexcept { Libc::drop(p); }
void operator delete(void *p, size_t, std::align_val_t) noexcept { Libc::drop(p); }
void operator delete[](void *p, size_t, std::align_val_t) noexcept { Libc::drop(p); }
