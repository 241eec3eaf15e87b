// What a thread of the machine can do at most.
#pragma once

#include "simd/vec.h"

namespace fastrnn {
namespace {

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

// Reads n numbers, as many loads under way as the core can have; n: of whole blocks of 8 registers.
template <class T>
void read_loop(const T* x, index n) {
    constexpr int chains = 8, L = lanes<T>;
    Vec<T> total[chains] = {};
    for (index i = 0; i < n; i += chains * L) {
        FASTRNN_UNROLL
        for (int j = 0; j < chains; ++j) total[j] += load(x + i + j * L);
    }
    FASTRNN_UNROLL
    for (int j = 1; j < chains; ++j) total[0] += total[j];
    volatile T sink = total[0][0];
    (void)sink;
}

}  // namespace
}  // namespace fastrnn
