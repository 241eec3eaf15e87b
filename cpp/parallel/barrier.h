// Where the members of a team wait for each other.
#pragma once

#include <atomic>
#include <chrono>

#include "parallel/contention.h"

namespace fastrnn {

// Sense-reversing: spins briefly, then yields; while the processor has others to run, it sleeps, so
// that a neighbour costs its share and no more.
class Barrier {
public:
    // What a member's waiting came to.
    struct Waiting {
        LostTime::Duration in_all{0}, asleep{0};
    };
    void wait(int size, bool watched, Waiting& waiting);  // for so many members
    // One member will never come: who waits or would wait leaves with Broken.
    void break_up();
    struct Broken {};

private:
    using Clock = std::chrono::steady_clock;
    void leave_if_broken() const {
        if (broken_.load(std::memory_order_relaxed)) throw Broken{};
    }
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> generation_{0};  // it may wrap around
    std::atomic<int> sleepers_{0};
    std::atomic<bool> broken_{false};
    std::atomic<Clock::rep> contended_until_{0};
};

}  // namespace fastrnn
