// Transposing a square of registers.
#pragma once

#include <utility>

#include "simd/vec.h"

namespace fastrnn {
namespace {

// Elements of a and b in turn: those of their first halves (half = 0) or of their second (half =
// 1).
template <class T, int half, int... Lane>
FASTRNN_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b, std::integer_sequence<int, Lane...>) {
    constexpr int L = lanes<T>;
#if defined(__clang__)
    return __builtin_shufflevector(a, b, ((half * L + Lane) / 2 + (half * L + Lane) % 2 * L)...);
#else
    return __builtin_shuffle(a, b, Bits<T>{((half * L + Lane) / 2 + (half * L + Lane) % 2 * L)...});
#endif
}

// r[i][j] = r[j][i], by log2(L) perfect shuffles of all rows.
template <class T>
FASTRNN_INLINE void transpose(Vec<T> (&r)[lanes<T>]) {
    constexpr int L = lanes<T>;
    constexpr auto all = std::make_integer_sequence<int, L>();
    FASTRNN_UNROLL
    for (int size = 1; size < L; size *= 2) {
        Vec<T> shuffled[L];
        FASTRNN_UNROLL
        for (int i = 0; i < L / 2; ++i) {
            shuffled[2 * i] = interleave<T, 0>(r[i], r[i + L / 2], all);
            shuffled[2 * i + 1] = interleave<T, 1>(r[i], r[i + L / 2], all);
        }
        FASTRNN_UNROLL
        for (int i = 0; i < L; ++i) r[i] = shuffled[i];
    }
}

}  // namespace
}  // namespace fastrnn
