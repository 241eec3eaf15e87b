// Threads: the only place that knows OpenMP.
//
// run(n, flops, body) opens one parallel region; the body gets its Team and does everything inside:
// splitting, barriers, tasks. Inside a region denormals are flushed; the caller's floating-point
// mode is restored.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>

#include "base/types.h"
#include "parallel/contention.h"

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

// Sense-reversing: spins briefly, then yields; while the processor has others to run, it sleeps, so
// that a neighbour costs its share and no more.
class Barrier {
public:
    explicit Barrier(int size) : size_(size) {}
    LostTime::Duration wait();  // returns how long it slept

private:
    using Clock = std::chrono::steady_clock;
    const int size_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<int> generation_{0};
    std::atomic<int> sleepers_{0};
    std::atomic<Clock::rep> contended_until_{0};
};

class Team {
public:
    int rank() const { return rank_; }
    int size() const { return size_; }
    void barrier() { slept_ += barrier_.wait(); }
    // Of a team of an even size: which half this member is in, and that half as a team of its own.
    bool even() const { return size_ % 2 == 0; }
    int half_number() const { return rank_ / (size_ / 2); }
    Team half() {
        return {rank_ % (size_ / 2),         size_ / 2, polls_, shared_,
                shared_.half[half_number()], slept_};
    }
    // After an interruption the bodies skip their work but still meet at every barrier.
    bool cancelled() const { return shared_.cancelled.load(std::memory_order_relaxed); }
    void poll();  // does nothing except now and then on rank 0 of long work

    struct Range {
        index begin, end;
    };
    Range split(index n,
                index grain = 1) const;  // this member's contiguous part of 0 .. n, in whole grains

private:
    struct Shared {
        explicit Shared(int size) : barrier(size), half{Barrier(size / 2), Barrier(size / 2)} {}
        Barrier barrier, half[2];
        std::atomic<bool> cancelled{false};
        std::atomic<LostTime::Duration::rep> lost{0};  // by all members
    };
    Team(int rank, int size, bool polls, Shared& shared, Barrier& barrier,
         LostTime::Duration& slept)
        : rank_(rank),
          size_(size),
          polls_(polls),
          shared_(shared),
          barrier_(barrier),
          slept_(slept) {}
    const int rank_, size_;
    const bool polls_;  // the thread that called run(), with long work
    Shared& shared_;
    Barrier& barrier_;
    LostTime::Duration& slept_;
    friend void run(int, double, const std::function<void(Team&)>&);
};

// `flops`: the work of all members.
void run(int threads, double flops, const std::function<void(Team&)>& body);

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
