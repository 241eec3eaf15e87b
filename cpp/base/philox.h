// Philox4x32-10, a counter-based random generator (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", 2011). Being a pure function of its counter, it gives every element the same number
// whatever thread asks for it.
#pragma once

#include "base/types.h"

namespace fastrnn {

struct PhiloxWords {
    std::uint32_t word[4];
};

static inline PhiloxWords philox(std::uint64_t seed, std::uint32_t c0, std::uint32_t c1,
                                 std::uint32_t c2, std::uint32_t c3) {
    std::uint32_t key0 = static_cast<std::uint32_t>(seed),
                  key1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = std::uint64_t{0xD2511F53u} * c0,
                            b = std::uint64_t{0xCD9E8D57u} * c2;
        c0 = static_cast<std::uint32_t>(b >> 32) ^ c1 ^ key0;
        c1 = static_cast<std::uint32_t>(b);
        c2 = static_cast<std::uint32_t>(a >> 32) ^ c3 ^ key1;
        c3 = static_cast<std::uint32_t>(a);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

}  // namespace fastrnn
