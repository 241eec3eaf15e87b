#include "parallel/team.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <chrono>

#include "base/memory.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastrnn {
namespace {

std::atomic<int> num_threads{0};  // 0: not set yet
std::atomic<bool (*)()> poll_function{nullptr};
thread_local std::chrono::steady_clock::time_point last_poll;
constexpr auto poll_interval = std::chrono::milliseconds(50);

// Below this much work per thread (some 5 microseconds) another thread costs more than it brings.
constexpr double flops_worth_a_thread = 5e5;

// About 10 microseconds on current processors, the order of a barrier's natural spread.
constexpr int spins_before_yielding = 256;

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Flushes denormals while it lives.
class FlushDenormals {
public:
#if defined(__x86_64__)
    FlushDenormals() : saved_(_mm_getcsr()) {
        _mm_setcsr(saved_ | 0x8040u);
    }  // flush to zero, denormals are zero
    ~FlushDenormals() { _mm_setcsr(saved_); }

private:
    const unsigned saved_;
#elif defined(__aarch64__)
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(saved_));
        asm volatile("msr fpcr, %0" : : "r"(saved_ | (std::uint64_t{1} << 24)));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }

private:
    std::uint64_t saved_;
#endif
};

// libgomp's idle workers do not survive fork, and a child that opened a region would wait for them
// for ever. Giving them up before the fork makes both sides start afresh.
void before_fork() {
    omp_pause_resource_all(omp_pause_soft);
    MemoryPool::instance().mutex().lock();
}
void after_fork() { MemoryPool::instance().mutex().unlock(); }
[[maybe_unused]] const int fork_handlers = pthread_atfork(before_fork, after_fork, after_fork);

}  // namespace

void set_poll(bool (*poll)()) { poll_function.store(poll); }

int get_num_threads() {
    const int n = num_threads.load(std::memory_order_relaxed);
    return n > 0 ? n : omp_get_num_procs();
}

void set_num_threads(int n) { num_threads.store(n, std::memory_order_relaxed); }

int threads_worth(double flops, index pieces) {
    const double by_work = flops / flops_worth_a_thread;
    index n = smaller(get_num_threads(), larger(1, pieces));
    if (by_work < static_cast<double>(n)) n = larger(1, static_cast<index>(by_work));
    return static_cast<int>(n);
}

void Barrier::wait() {
    if (size_ == 1) return;
    static const int processors = omp_get_num_procs();
    const unsigned generation = generation_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
        arrived_.store(0, std::memory_order_relaxed);
        generation_.store(generation + 1, std::memory_order_release);
        return;
    }
    int spins = size_ > processors ? spins_before_yielding : 0;
    while (generation_.load(std::memory_order_acquire) == generation) {
        if (spins < spins_before_yielding) {
            ++spins;
            pause();
        } else {
            sched_yield();
        }
    }
}

void Team::poll() {
    if (rank_ != 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_poll < poll_interval) return;
    last_poll = now;
    bool (*const ask)() = poll_function.load(std::memory_order_relaxed);
    if (ask && !cancelled() && ask()) shared_.cancelled.store(true, std::memory_order_relaxed);
}

Team::Range Team::split(index n, index grain) const {
    const index grains = ceil_div(n, grain);
    return {smaller(n, grains * rank_ / size_ * grain),
            smaller(n, grains * (rank_ + 1) / size_ * grain)};
}

void run(int threads, const std::function<void(Team&)>& body) {
    last_poll = std::chrono::steady_clock::now();
    bool cancelled = false;
    if (threads <= 1) {
        Team::Shared shared{Barrier(1), {}};
        FlushDenormals flush;
        Team team(0, 1, shared);
        body(team);
        cancelled = team.cancelled();
    } else {
        // The region may get fewer threads than it asked for; the team is made of those that came.
        Team::Shared* shared = nullptr;
#pragma omp parallel num_threads(threads)
        {
            const int size = omp_get_num_threads();
#pragma omp single
            shared = new Team::Shared{Barrier(size), {}};
            {
                FlushDenormals flush;
                Team team(omp_get_thread_num(), size, *shared);
                body(team);
            }
        }
        cancelled = shared->cancelled.load();
        delete shared;
    }
    if (cancelled) throw Interrupted{};
}

}  // namespace fastrnn
