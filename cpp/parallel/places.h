// Where a team's members run.
#pragma once

#include <sched.h>

#include <atomic>
#include <vector>

#include "base/types.h"

namespace fastrnn {

// The system may wake a worker on its waker's own processor, and leave
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

}  // namespace fastrnn
