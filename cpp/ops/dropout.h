// Dropout with a mask that is a function of (seed, stream, step, row, unit) alone: no memory
// layout, no thread count and no sequence length changes it, and the backward pass asks for the
// same mask again.
#pragma once

#include <algorithm>

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

// x, out: [rows, steps, units]; out may be x.
template <class T>
void dropout(const T* x, T* out, index rows, index steps, index units, double p, std::uint64_t seed,
             std::uint32_t stream, index first_step);

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

// The stream of the forward direction's masks of the first layer's input; the other's is the next.
// Those between layers are numbered from 0.
constexpr std::uint32_t first_input_stream = 1u << 31;

// to = dropout(from), or to += that, for the valid tokens of the first layer's input: a direction's
// own mask for each sequence, the same at all steps (Gal and Ghahramani 2016). `to` may be `from`;
// a member of the team has the same sequences in every call.
template <class T>
void drop_input(Team& team, const Plan& plan, const KernelTable<T>& table, index direction,
                const Tensor3<const T>& from, const Tensor3<T>& to, bool add = false) {
    const RecurrentShape& shape = plan.shape;
    const index width = shape.input_size;
    const DropoutRule<T> rule(shape.input_dropout, shape.seed,
                              first_input_stream + static_cast<std::uint32_t>(direction));
    const TimeView<const T> source(from, plan.schedule, false);
    const TimeView<T> target(to, plan.schedule, false);
    const Buffer<T> ones(width), mask(width);
    std::fill_n(ones.data(), width, T(1));
    for (index i = team.rank(); i < shape.batch && !team.cancelled(); i += team.size()) {
        const auto sequence = static_cast<std::size_t>(i);
        rule.row(table, ones.data(), mask.data(), width, 0, plan.schedule.order[sequence]);
        const T* const m = mask.data();
        for (index s = 0; s < plan.schedule.length[sequence]; ++s) {
            const T* const x = source.at(s) + source.offset(s)[i];
            T* const y = target.at(s) + target.offset(s)[i];
            for (index j = 0; j < width; ++j) {
                const T kept = m[j] != 0 ? x[j] * m[j] : T(0);
                y[j] = add ? y[j] + kept : kept;
            }
        }
    }
}

}  // namespace fastrnn
