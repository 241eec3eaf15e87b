#include "ops/embedding.h"

#include <algorithm>
#include <vector>

#include "dispatch/isa.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

// Of the gradient: bytes of neighbouring rows that one member sums, and how many ids
// ahead it fetches their rows.
constexpr index owned_bytes = 8192;
constexpr std::size_t rows_ahead = 4;

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
    // Members own rows of the table, some cache lines in turn, since frequent ids tend to be
    // neighbours. No two members write to one row, and each sums in the order of n.
    const index row_bytes = larger(1, width * static_cast<index>(sizeof(T)));
    const index block = larger(1, owned_bytes / row_bytes), blocks = ceil_div(rows, block);
    const double flops = static_cast<double>((n + rows) * width);
    const KernelTable<T>& table = current_table<T>();
    run(threads_worth(flops, blocks), flops, [&](Team& team) {
        for (index b = team.rank(); b < blocks; b += team.size()) {
            const index begin = b * block, end = smaller(rows, begin + block);
            std::fill_n(dtable + begin * width, (end - begin) * width, T(0));
        }
        std::vector<index> own;
        own.reserve(static_cast<std::size_t>(n));
        for (index i = 0; i < n; ++i) {
            if (ids[i] / block % team.size() == team.rank()) own.push_back(i);
        }
        for (std::size_t j = 0; j < own.size(); ++j) {
            if (j + rows_ahead < own.size()) {
                const T* const next = dtable + ids[own[j + rows_ahead]] * width;
                for (index k = 0; k < row_bytes; k += 64)
                    __builtin_prefetch(reinterpret_cast<const char*>(next) + k, 1, 3);
            }
            table.add_to(dout + own[j] * width, dtable + ids[own[j]] * width, width);
        }
    });
}

std::vector<std::int64_t> number_ids(const std::int64_t* ids, index n, std::int64_t* place) {
    // A hash table with open addressing of places among `unique`, -1 where it is free.
    std::uint64_t bits = 4;
    while ((index{1} << bits) < 2 * n) ++bits;
    const std::uint64_t slots = std::uint64_t{1} << bits;
    std::vector<std::int64_t> unique, table(slots, -1);
    for (index i = 0; i < n; ++i) {
        // Fibonacci hashing: neighbouring ids fall far apart.
        std::uint64_t slot =
            (static_cast<std::uint64_t>(ids[i]) * 0x9e3779b97f4a7c15u) >> (64 - bits);
        while (table[slot] >= 0 && unique[static_cast<std::size_t>(table[slot])] != ids[i])
            slot = (slot + 1) & (slots - 1);
        if (table[slot] < 0) {
            table[slot] = static_cast<std::int64_t>(unique.size());
            unique.push_back(ids[i]);
        }
        place[i] = table[slot];
    }
    return unique;
}

template void embedding_forward(const std::int64_t*, index, const float*, index, float*);
template void embedding_forward(const std::int64_t*, index, const double*, index, double*);
template void embedding_backward(const std::int64_t*, index, const float*, index, index, float*);
template void embedding_backward(const std::int64_t*, index, const double*, index, index, double*);

}  // namespace fastrnn
