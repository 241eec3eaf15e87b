#include "parallel/team.h"

#include <dlfcn.h>
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "parallel/pace.h"
#include "parallel/places.h"

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

void Team::Shared::fail(std::exception_ptr thrown) {
    if (failed.exchange(true)) return;
    exception = std::move(thrown);
    cancelled.store(true, std::memory_order_relaxed);
    for (Barrier& barrier : barriers) barrier.break_up();
}

// No exception may leave the region.
void Team::run(const std::function<void(Team&)>& body) {
    try {
        body(*this);
    } catch (const Barrier::Broken&) {
    } catch (...) {
        shared_.fail(std::current_exception());
    }
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
    if (!ask || cancelled()) return;
    const WithMode callers(member_.callers_mode);  // the caller's code may run meanwhile
    if (ask()) shared_.cancelled.store(true, std::memory_order_relaxed);
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
        const WithMode flushing(FloatingMode::current().that_flushes());
        Team::Shared shared(1);
        Team::Member member{watched, watched, flushing.before()};
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
        // Kept from call to call, since to make one takes as long as a small step. Taken out
        // meanwhile: a signal's handler may call again.
        thread_local std::unique_ptr<Team::Shared> kept;
        std::unique_ptr<Team::Shared> own = std::move(kept);
        if (!own || own->size != threads) own = std::make_unique<Team::Shared>(threads);
        Team::Shared& shared = *own;
        Places places(threads);
#pragma omp parallel num_threads(threads)
        {
            const int size = omp_get_num_threads(), rank = omp_get_thread_num();
            places.take(rank);
            const WithMode flushing(FloatingMode::current().that_flushes());
            Team::Member member{watched, watched && rank == 0, flushing.before()};
            Team team(0, rank, size, 0, member, shared);
            if (watched) {
                const LostTime lost(start);
                team.run(body);
                shared.lost.fetch_add(lost.until_now(member.waiting.asleep).count());
                const double busy = static_cast<double>(member.busy.count());
                shared.pace[static_cast<std::size_t>(rank)] = busy > 0 ? member.work / busy : 0;
            } else {
                team.run(body);
            }
        }
        if (shared.exception) std::rethrow_exception(shared.exception);
        if (watched) {
            note_lost_time(threads, LostTime::Clock::now() - start,
                           LostTime::Duration(shared.lost.load()));
            if (threads <= processors()) note_paces(shared.pace);
            std::fill(shared.pace.begin(), shared.pace.end(), 0.0);
        }
        cancelled = shared.cancelled.load();
        shared.cancelled.store(false), shared.lost.store(0);
        kept = std::move(own);
    }
    if (wants_workers) workers.called(threads > 1);
    if (cancelled) throw Interrupted{};
}

}  // namespace fastrnn
