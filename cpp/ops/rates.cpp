#include "ops/rates.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/memory.h"
#include "dispatch/isa.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

using Clock = std::chrono::steady_clock;

// Of the reading.
constexpr index number = sizeof(float);
constexpr index block = 4096;            // numbers that are read in the order of memory
constexpr index unit = 128;              // numbers: 8 registers of any width
constexpr index least = index{1} << 18;  // bytes between two looks at the clock

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of all members who start together: each one's work(), which returns what it got done, again and
// again for so many seconds; done a second, in all.
template <class Prepare>
double rate_of_all(int threads, double seconds, const Prepare& prepare) {
    std::vector<double> rate(static_cast<std::size_t>(larger(1, threads)));
    run(threads, flops_worth_watching, [&](Team& team) {  // so long that it can be interrupted
        auto work = prepare(team);
        work();  // warms up
        team.barrier();
        const Clock::time_point start = Clock::now();
        double done = 0, took = 0;
        while ((took = seconds_since(start)) < seconds && !team.cancelled()) {
            done += work();
            team.poll();
        }
        rate[static_cast<std::size_t>(team.rank())] = done / took;
    });
    double total = 0;
    for (const double one : rate) total += one;
    return total;
}

}  // namespace

template <class T>
double fma_peak(int threads, double seconds) {
    constexpr index iterations = 20000;  // some 100 microseconds, short against the time asked for
    return rate_of_all(threads, seconds, [](const Team&) {
        return [] { return current_table<T>().fma_loop(iterations); };
    });
}

double read_bandwidth(index bytes, int threads, double seconds) {
    return rate_of_all(threads, seconds, [&](const Team& team) {
        const index n = larger(1, bytes / team.size() / number / unit) * unit;
        Buffer<float> part(n, Pages::large);
        std::fill_n(part.data(), n, 1.0f);
        return [n, part = std::move(part)] {
            const index blocks = ceil_div(n, block), passes = 2 * ceil_div(least, 2 * n * number);
            for (index pass = 0; pass < passes; ++pass) {
                for (index i = 0; i < blocks; ++i) {
                    const index begin = (pass % 2 == 0 ? i : blocks - 1 - i) * block;
                    current_table<float>().read_loop(part.data() + begin,
                                                     smaller(block, n - begin));
                }
            }
            return static_cast<double>(passes * n * number);
        };
    });
}

template double fma_peak<float>(int, double);
template double fma_peak<double>(int, double);

}  // namespace fastrnn
