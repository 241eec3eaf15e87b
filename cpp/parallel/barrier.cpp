#include "parallel/barrier.h"

#include <sched.h>

#include <limits>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastrnn {
namespace {

// About 10 microseconds on current processors, the order of a barrier's natural spread.
constexpr int spins_before_yielding = 256;

// A yield that takes longer gave the processor to somebody else. For so many times as long we then
// sleep instead, and yield once more to see whether they are still there. A sleeper comes late to
// the next barrier, where the others have gone to sleep over it: among sleepers it never ends.
constexpr auto a_neighbours_turn = std::chrono::microseconds(100);
constexpr int turns_contended = 32;

// Sleeps while `word` is `value`. The system favours who has slept over who has run, so on a
// processor that others use too, a sleeper is back when it is woken; one that yielded waits for the
// neighbour's whole turn.
void sleep_while(std::atomic<unsigned>& word, unsigned value) {
#if defined(__linux__)
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
#else
    if (word.load() == value) sched_yield();
#endif
}
void wake_all([[maybe_unused]] std::atomic<unsigned>& word) {
#if defined(__linux__)
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, std::numeric_limits<int>::max(), nullptr, nullptr,
            0);
#endif
}

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    // yield does nothing on cores without hardware threads, which most are: the spins would be over
    // at once. isb takes about as long as x86's pause (oneTBB and Rust spin so too).
    asm volatile("isb");
#endif
}

}  // namespace

void Barrier::wait(int size, bool watched, Waiting& waiting) {
    const unsigned generation = generation_.load(std::memory_order_acquire);
    leave_if_broken();
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
        arrived_.store(0, std::memory_order_relaxed);
        generation_.store(generation + 1, std::memory_order_seq_cst);
        if (sleepers_.load(std::memory_order_seq_cst) > 0) wake_all(generation_);
        return;
    }
    const auto arrival = watched ? Clock::now() : Clock::time_point{};
    const auto open = [&] { return generation_.load(std::memory_order_acquire) != generation; };
    for (int spins = size > processors() ? spins_before_yielding : 0; !open(); ++spins) {
        if (spins < spins_before_yielding) {
            pause();
            continue;
        }
        const auto start = Clock::now();
        if (start.time_since_epoch().count() >= contended_until_.load(std::memory_order_relaxed)) {
            sched_yield();
            const auto now = Clock::now();
            if (now - start < a_neighbours_turn) continue;
            const auto until = now + turns_contended * (now - start);
            contended_until_.store(until.time_since_epoch().count(), std::memory_order_relaxed);
            continue;
        }
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        sleep_while(generation_, generation);
        sleepers_.fetch_sub(1, std::memory_order_seq_cst);
        waiting.asleep += Clock::now() - start;
    }
    if (watched) waiting.in_all += Clock::now() - arrival;
    leave_if_broken();
}

void Barrier::break_up() {
    broken_.store(true, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    wake_all(generation_);
}

}  // namespace fastrnn
