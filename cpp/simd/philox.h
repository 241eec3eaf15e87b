// Philox4x32-10, a counter-based random generator (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", 2011). Being a pure function of its counter, it gives every element the same number
// whatever thread, layout or ISA asks for it.
#pragma once

#include "simd/transpose.h"

namespace fastrnn {
namespace {

// Counters are worked on side by side, one in a 64-bit lane, in N registers: this many hide a
// round's latency.
constexpr int philox_registers = 4, philox_words = 4 * philox_registers * lanes<double>;

// word[4 i + j] = word j of the counter (c0 + i, c1, c2, c3), i < N * lanes<double>.
template <int N>
FASTRNN_INLINE void philox(std::uint64_t seed, std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                           std::uint32_t c3, std::uint32_t* word) {
    constexpr int L = lanes<double>;
    // The upper halves of the lanes hold rubbish between the rounds; the product ignores them.
    Wide a[N], b[N], c[N], d[N];
    const Wide zeros = {};
    FASTRNN_UNROLL
    for (int r = 0; r < N; ++r) {
        std::uint64_t counter[L];
        for (int i = 0; i < L; ++i)
            counter[i] = std::uint64_t{c0} + static_cast<unsigned>(r * L + i);
        __builtin_memcpy(&a[r], counter, sizeof(Wide));
        b[r] = zeros + c1, c[r] = zeros + c2, d[r] = zeros + c3;
    }
    std::uint64_t key0 = seed & 0xffffffffu, key1 = seed >> 32;
    const Wide multiplier0 = zeros + 0xD2511F53u, multiplier1 = zeros + 0xCD9E8D57u;
    for (int round = 0; round < 10; ++round) {
        FASTRNN_UNROLL
        for (int r = 0; r < N; ++r) {
            const Wide p = multiply_lower_halves(a[r], multiplier0),
                       q = multiply_lower_halves(c[r], multiplier1);
            a[r] = exclusive_or(q >> 32, b[r], zeros + key0);
            b[r] = q;
            c[r] = exclusive_or(p >> 32, d[r], zeros + key1);
            d[r] = p;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    constexpr auto all = std::make_integer_sequence<int, L>();
    FASTRNN_UNROLL
    for (int r = 0; r < N; ++r) {
        const Wide first = (a[r] & 0xffffffffu) | (b[r] << 32);
        const Wide second = (c[r] & 0xffffffffu) | (d[r] << 32);
        const Vec<double> lower =
                              interleave<double, 0>((Vec<double>)first, (Vec<double>)second, all),
                          upper =
                              interleave<double, 1>((Vec<double>)first, (Vec<double>)second, all);
        __builtin_memcpy(word + 4 * L * r, &lower, sizeof(lower));
        __builtin_memcpy(word + 4 * L * r + 2 * L, &upper, sizeof(upper));
    }
}

}  // namespace
}  // namespace fastrnn
