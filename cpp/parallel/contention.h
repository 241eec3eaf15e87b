// Whether others use the processors too, seen by the processor time that a team does not get, and
// how many threads to start meanwhile.
//
// A member that has to wait for a busy neighbour's turn, some milliseconds, holds up all others at
// the next barrier. One thread less leaves the neighbour a processor of its own: beside one, with
// two processors, a training step of a GRU (T100 B32 I64 H64) took 2.4 times its quiet time on two
// threads, and takes 1.9 times on one.
#pragma once

#include <chrono>
#include <ctime>

namespace fastrnn {

// That this process may use.
int processors();

// Calls of less work, some 0.2 ms on two processors, are not watched: to read a thread's processor
// time twice takes 0.7 us.
constexpr double flops_worth_watching = 5e7;

// The processor time that one member of a team wants and does not get, from `start` on.
class LostTime {
public:
    using Clock = std::chrono::steady_clock;
    using Duration = std::chrono::nanoseconds;
    explicit LostTime(Clock::time_point start) : start_(start), processor_(processor_time()) {}
    // `slept`: when it did not want any.
    Duration until_now(Duration slept) const {
        return (Clock::now() - start_) - (processor_time() - processor_) - slept;
    }

private:
    static Duration processor_time() {
        timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return std::chrono::seconds(now.tv_sec) + Duration(now.tv_nsec);
    }
    const Clock::time_point start_;
    const Duration processor_;
};

// What a team of `threads` saw: how long its call took, and what all its members lost. One thread:
// where the others are why there are no more.
void note_lost_time(int threads, LostTime::Duration took, LostTime::Duration lost);

// `threads`, or fewer while others are busy.
int threads_beside_others(int threads);

}  // namespace fastrnn
