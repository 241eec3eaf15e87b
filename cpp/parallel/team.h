// Threads: the only place that knows OpenMP.
//
// run(n, flops, body) opens one parallel region; the body gets its Team and does everything inside:
// splitting, barriers, tasks. Inside a region denormals are flushed; the caller's floating-point
// mode is restored. What a member's body throws (there may be no memory left) ends the region: the
// others leave it at their next barrier, and run() throws it.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <vector>

#include "base/types.h"
#include "parallel/barrier.h"
#include "parallel/contention.h"
#include "parallel/floating_mode.h"

namespace fastrnn {

// Thrown by run() when the poll function asked to stop; what the region was writing is then
// incomplete.
struct Interrupted {};

// Called now and then by the thread that called run(); true asks the region to stop.
void set_poll(bool (*poll)());

int get_num_threads();
void set_num_threads(int n);
// That many, or fewer while others use the processors too.
int threads_at_hand();
// Threads for work that may be cut into `pieces`, of `flops` floating-point operations in all;
// fewer while others use the processors too.
int threads_worth(double flops, index pieces);

// The work of some 60 microseconds on one thread, of which two save as much as it takes to wake a
// worker that sleeps. Less work that comes when the workers must be asleep is done by the calling
// thread alone.
constexpr double flops_worth_waking = 5e6;
// How long an idle worker stays awake; until it is said, for ever.
void set_awake_seconds(double seconds);
double get_awake_seconds();
const char* openmp_runtime();  // "libgomp" or LLVM's "libomp"

class Team {
public:
    int rank() const { return rank_; }
    int size() const { return size_; }
    void barrier() {
        if (size_ > 1) {
            Barrier& barrier = shared_.barrier(depth_, first_);
            barrier.wait(size_, member_.watched, member_.waiting);
        }
    }
    // The team cut into `parts` of equal sizes, neighbours together: the part that this member is
    // in, as a team of its own. A part can be cut again.
    Team part(int parts) {
        const int size = size_ / parts;
        return {first_ + rank_ / size * size, rank_ % size, size, depth_ + 1, member_, shared_};
    }
    // After an interruption the bodies skip their work but still meet at every barrier.
    bool cancelled() const { return shared_.cancelled.load(std::memory_order_relaxed); }
    void poll();  // does nothing except now and then on rank 0 of long work

    struct Range {
        index begin, end;
    };
    // This member's contiguous part of 0 .. n, in whole grains.
    Range split(index n, index grain = 1) const { return split(n, grain, rank_, size_); }
    static Range split(index n, index grain, int part, int parts);

    // A clock that stands still while this member waits, and what it has got done meanwhile, in any
    // unit that all members share: so the next calls know who can do how much (see pace.h).
    LostTime::Duration busy_time() const;
    void note_pace(double work, LostTime::Duration busy) {
        member_.work += work, member_.busy += busy;
    }

private:
    struct Shared {
        explicit Shared(int size)
            : size(size),
              barriers(static_cast<std::size_t>(size > 1 ? cuts * size : 0)),
              pace(static_cast<std::size_t>(size > 1 ? size : 0)) {}
        Barrier& barrier(int depth, int first) {
            return barriers[static_cast<std::size_t>(depth * size + first)];
        }
        void fail(std::exception_ptr exception);  // by one member
        static constexpr int cuts = 3;            // the whole team, its parts, and theirs
        const int size;
        std::vector<Barrier> barriers;  // [cuts][first member]
        std::atomic<bool> cancelled{false}, failed{false};
        std::exception_ptr exception;                  // of the first that failed
        std::atomic<LostTime::Duration::rep> lost{0};  // by all members
        std::vector<double> pace;                      // of each member
    };
    struct Member {
        const bool watched, polls;  // long work; and the thread that called run() with it
        const FloatingMode callers_mode;
        Barrier::Waiting waiting{};
        double work = 0;  // done in `busy`
        LostTime::Duration busy{0};
    };
    Team(int first, int rank, int size, int depth, Member& member, Shared& shared)
        : first_(first),
          rank_(rank),
          size_(size),
          depth_(depth),
          member_(member),
          shared_(shared) {}
    void run(const std::function<void(Team&)>& body);
    const int first_, rank_, size_, depth_;  // `first_`: of its members, in the whole team
    Member& member_;
    Shared& shared_;
    friend void run_region(int, double, const std::function<void(Team&)>&);
};

void run_region(int threads, double flops, const std::function<void(Team&)>& body);

// `flops`: the work of all members, who may be fewer than `threads`.
template <class Body>
void run(int threads, double flops, const Body& body) {
    run_region(threads, flops, std::cref(body));  // a copy of the body would be allocated
}

// body(begin, end) for each member's contiguous part of 0 .. n; `flops` is the work of all.
template <class Body>
void for_ranges(index n, double flops, const Body& body) {
    run(threads_worth(flops, n), flops, [&](Team& team) {
        const Team::Range range = team.split(n);
        if (range.begin < range.end) body(range.begin, range.end);
    });
}

// Calls body(i) for i = 0 .. n-1, whichever member is free taking the next; `next` must start at 0.
template <class Body>
void for_tasks(Team& team, std::atomic<index>& next, index n, const Body& body) {
    for (index i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n && !team.cancelled();) {
        body(i);
        team.poll();
    }
}

}  // namespace fastrnn
