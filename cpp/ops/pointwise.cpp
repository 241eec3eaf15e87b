#include "ops/pointwise.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "dispatch/isa.h"
#include "ops/dropout.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

// An exponential is worth about this many multiplications.
constexpr double transcendental_flops = 40;

template <class T>
const KernelTable<T>& kernels() {
    return kernel_table<T>(current_kernels());
}

}  // namespace

template <class T>
void embedding_forward(const std::int64_t* ids, index n, const T* table, index width, T* out) {
    for_ranges(n, static_cast<double>(n * width), [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            std::copy_n(table + ids[i] * width, width, out + i * width);
    });
}

template <class T>
void embedding_backward(const std::int64_t* ids, index n, const T* dout, index rows, index width,
                        T* dtable) {
    const index line = 64 / static_cast<index>(sizeof(T));
    const double flops = static_cast<double>((n + rows) * width);
    run(threads_worth(flops, ceil_div(width, line)), flops, [&](Team& team) {
        const Team::Range part = team.split(rows);
        std::fill_n(dtable + part.begin * width, (part.end - part.begin) * width, T(0));
        team.barrier();
        // By columns: no two threads meet in one element, and each keeps the order of n.
        const Team::Range columns = team.split(width, line);
        const index count = columns.end - columns.begin;
        for (index i = 0; count > 0 && i < n; ++i) {
            kernels<T>().add_to(dout + i * width + columns.begin,
                                dtable + ids[i] * width + columns.begin, count);
        }
    });
}

template <class T>
void dropout(const T* x, T* out, index rows, index steps, index units, double p, std::uint64_t seed,
             std::uint32_t stream, index first_step) {
    const DropoutRule<T> rule(p, seed, stream);
    for_ranges(rows * steps, static_cast<double>(rows * steps * units) * transcendental_flops,
               [&](index begin, index end) {
                   for (index i = begin; i < end; ++i) {
                       rule.row(kernels<T>(), x + i * units, out + i * units, units,
                                first_step + i % steps, i / steps);
                   }
               });
}

template <class T>
double fma_peak(int threads, double seconds) {
    using Clock = std::chrono::steady_clock;
    constexpr index iterations = 20000;  // some 100 microseconds, short against the time asked for
    double total = 0;
    std::vector<double> done(static_cast<std::size_t>(larger(1, threads)));
    Clock::time_point begin;
    run(threads, 0, [&](Team& team) {
        double operations = kernels<T>().fma_loop(iterations);  // warms up
        team.barrier();
        if (team.rank() == 0) begin = Clock::now();
        team.barrier();
        const Clock::time_point start = begin;
        operations = 0;
        while (std::chrono::duration<double>(Clock::now() - start).count() < seconds) {
            operations += kernels<T>().fma_loop(iterations);
        }
        done[static_cast<std::size_t>(team.rank())] =
            operations / std::chrono::duration<double>(Clock::now() - start).count();
    });
    for (const double rate : done) total += rate;
    return total;
}

#define FASTRNN_INSTANTIATE(T)                                                                     \
    template void embedding_forward(const std::int64_t*, index, const T*, index, T*);              \
    template void embedding_backward(const std::int64_t*, index, const T*, index, index, T*);      \
    template void dropout(const T*, T*, index, index, index, double, std::uint64_t, std::uint32_t, \
                          index);                                                                  \
    template double fma_peak<T>(int, double);
FASTRNN_INSTANTIATE(float)
FASTRNN_INSTANTIATE(double)
#undef FASTRNN_INSTANTIATE

}  // namespace fastrnn
