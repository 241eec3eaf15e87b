#include "parallel/contention.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>

namespace fastrnn {
namespace {

using namespace std::chrono_literals;

// One or two of a neighbour's turns of 3 ms are no reason; one who stays takes half of a processor
// at least. After a fifth of a second the whole team looks whether they are still there.
constexpr LostTime::Duration evidence = 40ms;
constexpr double processors_lost = 0.25;
// What was seen longer ago than this is no evidence.
constexpr auto time_with_fewer = 200ms, forgotten_after = 50ms;

std::mutex notes;
LostTime::Duration seen{0}, lost_meanwhile{0};
LostTime::Clock::time_point last_note;

std::atomic<int> fewer{0};
std::atomic<LostTime::Clock::rep> fewer_until{0};

// Who asks for more threads than there are processors wants them to share.
bool fits(int threads) { return threads <= processors(); }

}  // namespace

int processors() {
    static const int n = omp_get_num_procs();
    return n;
}

void note_lost_time(int threads, LostTime::Duration took, LostTime::Duration lost) {
    const std::unique_lock<std::mutex> lock(notes, std::try_to_lock);
    if (!lock || !fits(threads)) return;
    const auto now = LostTime::Clock::now();
    if (now - took - last_note > forgotten_after) seen = lost_meanwhile = 0ns;
    last_note = now;
    seen += took;
    lost_meanwhile += lost;
    if (seen < evidence) return;
    const double share =
        static_cast<double>(lost_meanwhile.count()) / static_cast<double>(seen.count());
    seen = lost_meanwhile = 0ns;
    if (share < processors_lost) return;
    // One thread that loses time too finds every processor taken: then it stays alone.
    const int least = threads == 1 ? fewer.load(std::memory_order_relaxed) : 1;
    fewer.store(std::max(least, static_cast<int>(std::lround(share))), std::memory_order_relaxed);
    const auto until = now + time_with_fewer;
    fewer_until.store(until.time_since_epoch().count(), std::memory_order_relaxed);
}

int threads_beside_others(int threads) {
    const auto until = fewer_until.load(std::memory_order_relaxed);
    if (threads == 1 || until == 0 || !fits(threads)) return threads;
    if (LostTime::Clock::now().time_since_epoch().count() >= until) return threads;
    return std::max(1, threads - fewer.load(std::memory_order_relaxed));
}

}  // namespace fastrnn
