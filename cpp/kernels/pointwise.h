// Dropout and sums; none of them bounds a training step.
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

}  // namespace
}  // namespace fastrnn
