#include "ops/fma_peak.h"

#include <chrono>
#include <vector>

#include "dispatch/isa.h"
#include "parallel/team.h"

namespace fastrnn {

template <class T>
double fma_peak(int threads, double seconds) {
    using Clock = std::chrono::steady_clock;
    constexpr index iterations = 20000;  // some 100 microseconds, short against the time asked for
    double total = 0;
    std::vector<double> done(static_cast<std::size_t>(larger(1, threads)));
    Clock::time_point begin;
    run(threads, flops_worth_waking, [&](Team& team) {
        double operations = current_table<T>().fma_loop(iterations);  // warms up
        team.barrier();
        if (team.rank() == 0) begin = Clock::now();
        team.barrier();
        const Clock::time_point start = begin;
        operations = 0;
        while (std::chrono::duration<double>(Clock::now() - start).count() < seconds) {
            operations += current_table<T>().fma_loop(iterations);
        }
        done[static_cast<std::size_t>(team.rank())] =
            operations / std::chrono::duration<double>(Clock::now() - start).count();
    });
    for (const double rate : done) total += rate;
    return total;
}

template double fma_peak<float>(int, double);
template double fma_peak<double>(int, double);

}  // namespace fastrnn
