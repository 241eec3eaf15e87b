#include "parallel/team.h"

#include <dlfcn.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "base/memory.h"
#include "parallel/pace.h"

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

std::atomic<int> num_threads{0};  // 0: not set yet
std::atomic<double> awake_seconds{std::numeric_limits<double>::infinity()};
std::atomic<bool (*)()> poll_function{nullptr};
thread_local std::chrono::steady_clock::time_point last_poll;
constexpr auto poll_interval = std::chrono::milliseconds(50);

// So much work (some 5 microseconds) the threads must have each before another one brings more than
// it costs.
constexpr double flops_worth_a_thread = 5e5;

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
void sleep_while(std::atomic<int>& word, int value) {
#if defined(__linux__)
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
#else
    if (word.load() == value) sched_yield();
#endif
}
void wake_all([[maybe_unused]] std::atomic<int>& word) {
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

int processors() {
    static const int n = omp_get_num_procs();
    return n;
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

// Where a team's members run. The system may wake a worker on its waker's own processor, and leave
// both there for tenths of a second: they look busy, since they wait for each other in turn. Of
// turns of 1,000 steps (GRU, H 256, two processors) after a pause a quarter to a half were up to
// five times slower.
class Places {
public:
    explicit Places(int size) : processor_(static_cast<std::size_t>(size)) {
        for (auto& processor : processor_) processor.store(-1, std::memory_order_relaxed);
    }
    // Moves a member that finds another one on its processor to one where none was seen.
    void take([[maybe_unused]] int rank) {
#if defined(__linux__)
        const int here = sched_getcpu();
        if (here < 0) return;
        bool shared = false;
        for (const auto& other : processor_)
            shared |= other.load(std::memory_order_relaxed) == here;
        if (shared) move();
        processor_[static_cast<std::size_t>(rank)].store(sched_getcpu(), std::memory_order_relaxed);
#endif
    }

private:
#if defined(__linux__)
    void move() const {
        cpu_set_t allowed;
        if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
        cpu_set_t free = allowed;
        for (const auto& taken : processor_) {
            const int processor = taken.load(std::memory_order_relaxed);
            if (processor >= 0 && processor < CPU_SETSIZE) CPU_CLR(processor, &free);
        }
        if (CPU_COUNT(&free) == 0) return;
        if (sched_setaffinity(0, sizeof free, &free) == 0)
            sched_setaffinity(0, sizeof allowed, &allowed);
    }
#endif
    std::vector<std::atomic<int>> processor_;  // of each member that has begun, else -1
};

// The workers of one calling thread, who fall asleep when there is nothing to do. A step of a
// stream that comes once a millisecond (LSTM, H 192) would take 39 us on two threads, most of it to
// wake one, instead of 18 on one. So a call that finds them asleep goes without, unless it or those
// that followed each other so far are worth it.
class Workers {
public:
    // Whether a call of so much work goes without them.
    bool let_sleep(double flops) {
        if (flops >= flops_worth_waking) return false;
        const auto now = Clock::now();
        const std::chrono::duration<double> awake(awake_seconds.load(std::memory_order_relaxed));
        if (now - last_used_ < awake) return false;
        if (now - last_call_ > awake) without_ = 0;
        without_ += flops;
        if (without_ < flops_worth_waking) return true;
        without_ = 0;
        return false;
    }
    void called(bool used) {
        last_call_ = Clock::now();
        if (used) last_used_ = last_call_;
    }

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point last_used_, last_call_;
    double without_ = 0;  // flops of the calls that followed each other and let them sleep
};
thread_local Workers workers;

// libgomp's idle workers do not survive fork, and a child that opened a region would wait for them
// for ever. Giving them up before the fork makes both sides start afresh. That is of OpenMP 5.0,
// and of several libgomp the one that was loaded first serves all: PyTorch's, up to 2.6, has no
// such function, and must not be the reason that this library cannot be loaded. Children then
// compute alone.
using PauseAll = int (*)(omp_pause_resource_t);
const auto pause_all = reinterpret_cast<PauseAll>(dlsym(RTLD_DEFAULT, "omp_pause_resource_all"));
std::atomic<bool> workers_are_lost{false};

void before_fork() {
    if (pause_all) pause_all(omp_pause_soft);
    MemoryPool::instance().mutex().lock();
}
void after_fork() { MemoryPool::instance().mutex().unlock(); }
void after_fork_in_child() {
    after_fork();
    if (!pause_all) workers_are_lost.store(true);
}
[[maybe_unused]] const int fork_handlers =
    pthread_atfork(before_fork, after_fork, after_fork_in_child);

}  // namespace

void set_poll(bool (*poll)()) { poll_function.store(poll); }

int get_num_threads() {
    const int n = num_threads.load(std::memory_order_relaxed);
    return n > 0 ? n : omp_get_num_procs();
}

const char* openmp_runtime() {
#if defined(KMP_VERSION_MAJOR)
    return "libomp";
#else
    return "libgomp";
#endif
}

void set_awake_seconds(double seconds) { awake_seconds.store(seconds); }
double get_awake_seconds() { return awake_seconds.load(); }

void set_num_threads(int n) { num_threads.store(n, std::memory_order_relaxed); }

int threads_at_hand() { return threads_beside_others(get_num_threads()); }

int threads_worth(double flops, index pieces) {
    const double by_work = flops / flops_worth_a_thread;
    index n = smaller(get_num_threads(), larger(1, pieces));
    if (by_work < static_cast<double>(n)) n = larger(1, static_cast<index>(std::ceil(by_work)));
    return threads_beside_others(static_cast<int>(n));
}

void Barrier::wait(int size, bool watched, Waiting& waiting) {
    const int generation = generation_.load(std::memory_order_relaxed);
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
}

LostTime::Duration Team::busy_time() const {
    if (!member_.watched) return LostTime::Duration{0};
    return LostTime::Clock::now().time_since_epoch() - member_.waiting.in_all;
}

void Team::poll() {
    if (!member_.polls) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_poll < poll_interval) return;
    last_poll = now;
    bool (*const ask)() = poll_function.load(std::memory_order_relaxed);
    if (ask && !cancelled() && ask()) shared_.cancelled.store(true, std::memory_order_relaxed);
}

Team::Range Team::split(index n, index grain, int part, int parts) {
    if (parts == 1) return {0, n};
    const index grains = ceil_div(n, grain);
    return {smaller(n, grains * part / parts * grain),
            smaller(n, grains * (part + 1) / parts * grain)};
}

void run_region(int threads, double flops, const std::function<void(Team&)>& body) {
    const bool wants_workers = threads > 1;
    if (wants_workers && (workers_are_lost.load() || workers.let_sleep(flops))) threads = 1;
    // Of little work nobody asks, and it reads no clock.
    const bool watched = flops >= flops_worth_watching;
    LostTime::Clock::time_point start;
    if (watched) last_poll = start = LostTime::Clock::now();
    bool cancelled = false;
    if (threads <= 1) {
        Team::Shared shared(1);
        Team::Member member{watched, watched};
        FlushDenormals flush;
        Team team(0, 0, 1, 0, member, shared);
        if (watched && get_num_threads() > 1 && threads_at_hand() == 1) {
            const LostTime lost(start);
            body(team);
            note_lost_time(1, LostTime::Clock::now() - start,
                           lost.until_now(LostTime::Duration{0}));
        } else {
            body(team);
        }
        cancelled = team.cancelled();
    } else {
        // The region may get fewer threads than it asked for; the team is made of those that came.
        Team::Shared shared(threads);
        Places places(threads);
#pragma omp parallel num_threads(threads)
        {
            const int size = omp_get_num_threads(), rank = omp_get_thread_num();
            places.take(rank);
            Team::Member member{watched, watched && rank == 0};
            FlushDenormals flush;
            Team team(0, rank, size, 0, member, shared);
            if (watched) {
                const LostTime lost(start);
                body(team);
                shared.lost.fetch_add(lost.until_now(member.waiting.asleep).count());
                const double busy = static_cast<double>(member.busy.count());
                shared.pace[static_cast<std::size_t>(rank)] = busy > 0 ? member.work / busy : 0;
            } else {
                body(team);
            }
        }
        if (watched) {
            note_lost_time(threads, LostTime::Clock::now() - start,
                           LostTime::Duration(shared.lost.load()));
            if (threads <= processors()) note_paces(shared.pace);
        }
        cancelled = shared.cancelled.load();
    }
    if (wants_workers) workers.called(threads > 1);
    if (cancelled) throw Interrupted{};
}

}  // namespace fastrnn
