// Dropout with a mask that is a function of (seed, stream, step, row, unit) alone: no memory
// layout, no thread count and no sequence length changes it, and the backward pass asks for the
// same mask again.
#pragma once

#include "ops/recurrent.h"
#include "parallel/team.h"

namespace fastrnn {

template <class T>
struct DropoutRule {
    DropoutRule(double p, std::uint64_t s, std::uint32_t stream_number)
        : seed(s),
          stream(stream_number),
          threshold(p >= 1 ? UINT32_MAX : static_cast<std::uint32_t>(p * 4294967296.0)),
          scale(p >= 1 ? T(0) : static_cast<T>(1 / (1 - p))) {}

    void row(const KernelTable<T>& table, const T* x, T* y, index n, index step,
             index row_number) const {
        table.dropout_row(x, y, n, seed, stream, static_cast<std::uint32_t>(step),
                          static_cast<std::uint32_t>(row_number), threshold, scale);
    }

    std::uint64_t seed;
    std::uint32_t stream, threshold;
    T scale;
};

// to = dropout(from) for the valid tokens of a layer's output [T, B, D * H]; `to` may be `from`.
template <class T>
void drop_tokens(Team& team, const Plan& plan, const KernelTable<T>& table, index layer,
                 Tensor3<T> from, Tensor3<T> to) {
    const RecurrentShape& shape = plan.shape;
    const DropoutRule<T> rule(shape.dropout, shape.seed, static_cast<std::uint32_t>(layer));
    for (index i = team.rank(); i < shape.batch && !team.cancelled(); i += team.size()) {
        const index row = plan.schedule.order[static_cast<std::size_t>(i)];
        for (index t = 0; t < plan.schedule.length[static_cast<std::size_t>(i)]; ++t) {
            rule.row(table, from.data + t * from.time_stride + row * from.batch_stride,
                     to.data + t * to.time_stride + row * to.batch_stride,
                     shape.directions * shape.hidden_size, shape.first_step + t, row);
        }
    }
}

}  // namespace fastrnn
