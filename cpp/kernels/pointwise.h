// Dropout and sums: plain loops, which the compiler turns into registers of this ISA; none of them
// bounds a training step.
#pragma once

#include "kernels/table.h"
#include "simd/math.h"
#include "simd/philox.h"

namespace fastrnn {
namespace {

template <class T>
void dropout_row(const T* x, T* y, index n, std::uint64_t seed, std::uint32_t stream,
                 std::uint32_t step, std::uint32_t row, std::uint32_t threshold, T scale) {
    std::uint32_t words[philox_words];
    for (index i = 0; i < n; i += philox_words) {
        philox(seed, static_cast<std::uint32_t>(i / 4), row, step, stream, words);
        const index m = smaller(philox_words, n - i);
        for (index j = 0; j < m; ++j) y[i + j] = words[j] >= threshold ? x[i + j] * scale : T(0);
    }
}

template <class T>
void add_to(const T* x, T* y, index n) {
    for (index i = 0; i < n; ++i) y[i] += x[i];
}

// As many independent chains of fma as fill both pipes. They run through the addend, as in a
// product: NEON's fma overwrites it, and would have to copy a constant one first.
template <class T>
double fma_loop(index iterations) {
    constexpr int chains = registers == 32 ? 24 : 12;
    Vec<T> acc[chains];
    FASTRNN_UNROLL
    for (int j = 0; j < chains; ++j) acc[j] = broadcast_to<T>(j);
    Vec<T> x = broadcast_to<T>(0.999), y = broadcast_to<T>(1e-3);
    for (index i = 0; i < iterations; ++i) {
        FASTRNN_UNROLL
        for (int j = 0; j < chains; ++j) acc[j] = fma(x, y, acc[j]);
    }
    Vec<T> total = zero<T>();
    FASTRNN_UNROLL
    for (int j = 0; j < chains; ++j) total += acc[j];
    volatile T sink = sum_of_lanes<T>(total);
    (void)sink;
    return 2.0 * static_cast<double>(iterations) * chains * lanes<T>;
}

}  // namespace
}  // namespace fastrnn
