// Preloaded into a process: one call of operator new or of aligned_alloc, from which the core's
// workspaces come, fails, where Python's lock is not held, which is where the core computes.
#include <atomic>
#include <cstdlib>
#include <new>

extern "C" int PyGILState_Check();

namespace {

std::atomic<long> news_left{0}, aligned_left{0};

bool fails(std::atomic<long>& left) {
    if (left.load() <= 0 || PyGILState_Check()) return false;
    return left.fetch_sub(1) == 1;
}

}  // namespace

// The n-th call from now on; 0: none.
extern "C" void fail_new_in(long n) { news_left.store(n); }
extern "C" long new_calls_left() { return news_left.load(); }
extern "C" void fail_aligned_alloc_in(long n) { aligned_left.store(n); }
extern "C" long aligned_alloc_calls_left() { return aligned_left.load(); }

extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) {
    void* block = nullptr;
    if (fails(aligned_left) || posix_memalign(&block, alignment, size) != 0) return nullptr;
    return block;
}

void* operator new(std::size_t size) {
    void* const block = fails(news_left) ? nullptr : std::malloc(size > 0 ? size : 1);
    if (!block) throw std::bad_alloc();
    return block;
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
