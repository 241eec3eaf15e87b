// Dropout, sums and the loop that measures the FMA rate; none of them bounds a training step.
#pragma once

#include "kernels/table.h"
#include "simd/math.h"
#include "simd/philox.h"

namespace fastrnn {
namespace {

// Whether each of the next words is no less than a limit, as -1 or 0 in a register of T.
template <class T>
FASTRNN_INLINE Bits<T> no_less(const std::uint32_t* word, std::uint32_t limit) {
    typedef std::uint32_t Words __attribute__((vector_size(lanes<T> * sizeof(std::uint32_t))));
    Words w;
    __builtin_memcpy(&w, word, sizeof(w));
    return __builtin_convertvector(w >= limit, Bits<T>);
}

template <class T>
void dropout_row(const T* x, T* y, index n, std::uint64_t seed, std::uint32_t stream,
                 std::uint32_t step, std::uint32_t row, std::uint32_t threshold, T scale) {
    constexpr index L = lanes<T>;
    std::uint32_t words[philox_words];
    for (index i = 0; i < n; i += philox_words) {
        const index m = smaller(philox_words, n - i);
        const auto counter = static_cast<std::uint32_t>(i / 4);
        if (m > philox_words / 2) {
            philox<philox_registers>(seed, counter, row, step, stream, words);
        } else {
            philox<philox_registers / 2>(seed, counter, row, step, stream, words);
        }
        for (index j = 0; j < m; j += L) {
            const index count = smaller(L, m - j);
            const Vec<T> kept = load_first(x + i + j, count) * scale;
            store_first(y + i + j, no_less<T>(words + j, threshold) ? kept : zero<T>(), count);
        }
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
