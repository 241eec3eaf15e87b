// Preloaded into a process: one call of operator new fails, where Python's lock is not held, which
// is where the core computes.
#include <atomic>
#include <cstdlib>
#include <new>

extern "C" int PyGILState_Check();

namespace {

std::atomic<long> calls_left{0};

bool fails() {
    if (calls_left.load() <= 0 || PyGILState_Check()) return false;
    return calls_left.fetch_sub(1) == 1;
}

}  // namespace

// The n-th call from now on; 0: none.
extern "C" void fail_new_in(long n) { calls_left.store(n); }
extern "C" long new_calls_left() { return calls_left.load(); }

void* operator new(std::size_t size) {
    void* const block = fails() ? nullptr : std::malloc(size > 0 ? size : 1);
    if (!block) throw std::bad_alloc();
    return block;
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
