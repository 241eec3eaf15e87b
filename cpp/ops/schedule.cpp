#include "ops/schedule.h"

#include <algorithm>
#include <numeric>

namespace fastrnn {
namespace {

// Tokens in a chunk: long enough that the weights' gradients, read and written once a chunk, do not
// bound it; short enough that one chain of float32 additions stays accurate to some 1e-7.
constexpr index tokens_per_chunk = 1024;

}  // namespace

Schedule::Schedule(index all_steps, index batch_size, const std::int64_t* lengths, index first_step)
    : batch(batch_size) {
    const auto n = static_cast<std::size_t>(batch);
    order.resize(n);
    std::iota(order.begin(), order.end(), index{0});
    length.assign(n, all_steps);
    if (lengths) {
        std::stable_sort(order.begin(), order.end(),
                         [&](index a, index b) { return lengths[a] > lengths[b]; });
        for (std::size_t i = 0; i < n; ++i) {
            length[i] = smaller(all_steps, larger(0, lengths[order[i]] - first_step));
        }
    }
    steps = n ? length[0] : 0;
    active.resize(static_cast<std::size_t>(steps));
    first_token.assign(static_cast<std::size_t>(steps) + 1, 0);
    index alive = batch;
    for (index s = 0; s < steps; ++s) {
        while (length[static_cast<std::size_t>(alive - 1)] <= s) --alive;
        active[static_cast<std::size_t>(s)] = alive;
        first_token[static_cast<std::size_t>(s) + 1] =
            first_token[static_cast<std::size_t>(s)] + alive;
    }
    chunk_steps = larger(1, tokens_per_chunk / larger(1, batch));
}

std::vector<index> RowIndex::of_tokens(const Schedule& schedule, bool reverse) const {
    std::vector<index> rows_of_tokens;
    rows_of_tokens.reserve(static_cast<std::size_t>(schedule.tokens()));
    for (index s = 0; s < schedule.steps; ++s) {
        for (index i = 0; i < schedule.active[s]; ++i) {
            const index t = reverse ? schedule.length[i] - 1 - s : s;
            rows_of_tokens.push_back(data[t * time_stride + schedule.order[i] * batch_stride]);
        }
    }
    return rows_of_tokens;
}

index ChunkLayout::padded(index elements, index element_size) {
    const index lines = ceil_div(elements * element_size, 64);
    return (lines | 1) * 64 / element_size;
}

ChunkLayout::ChunkLayout(const Schedule& schedule, index units, index width, index last_width,
                         index element_size) {
    for (index c = 0; c < schedule.chunks(); ++c) {
        const index tokens = schedule.chunk_tokens(c);
        base.push_back(total);
        unit_stride.push_back(padded(tokens * width, element_size));
        total += (units - 1) * unit_stride.back() + padded(tokens * last_width, element_size);
    }
}

}  // namespace fastrnn
