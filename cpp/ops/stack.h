// What the forward and the backward pass of a stack share: where lies what its layers hand to each
// other, and how a team goes through the directions of one.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "ops/sharing.h"

namespace fastrnn {

// As many zeros take some 10 us, so that tasks are neither too many nor too large for the last one.
constexpr index zeros_bytes_per_task = 128 << 10;

// An inner layer's output, what dropout makes of it, or the gradient of either: [T, B, D * H] in
// one of `buffers`, which layers take in turn.
template <class T>
Tensor3<T> output_in(const std::vector<Buffer<T>>& buffers, const RecurrentShape& shape,
                     index layer) {
    const index width = shape.directions * shape.hidden_size;
    const std::size_t place = static_cast<std::size_t>(layer) % buffers.size();
    return {buffers[place].data(), shape.batch * width, width};
}

// The first layer's input after dropout, [T, B, I]: each direction's in a buffer of its own.
template <class T>
Tensor3<T> input_in(const std::vector<Buffer<T>>& buffers, const RecurrentShape& shape,
                    index direction) {
    const std::size_t place = static_cast<std::size_t>(direction);
    return {buffers[place].data(), shape.batch * shape.input_size, shape.input_size};
}

// body(team, direction) for each direction of a layer: side by side, without a barrier after them,
// or one after another.
template <class Body>
void for_directions(Team& team, const Sharing& sharing, index directions, const Body& body) {
    if (sharing.apart && team.size() % 2 == 0) {
        Team half = team.part(2);
        body(half, team.rank() / half.size());
    } else {
        for (index d = 0; d < directions; ++d) body(team, d);
    }
}

// Zeros past the sequences' ends in an array of the caller's, [T, B, width]: step by step or, if
// the array is [B, T, width] in memory, sequence by sequence, so that neighbours follow each other.
// The last work of a region, for whoever comes to it first; `next` must start at 0.
template <class T>
void zero_past_the_ends(Team& team, std::atomic<index>& next, const Plan& plan,
                        const Tensor3<T>& array, index width) {
    if (!plan.ragged || !array.data || array.packed) return;
    const Schedule& schedule = plan.schedule;
    const index steps = plan.shape.steps, batch = schedule.batch;
    const index full = batch > 0 ? schedule.length.back() : steps;  // that all sequences have
    const auto clear = [&](index i, index begin, index end) {
        T* to = array.data + schedule.order[i] * array.batch_stride + begin * array.time_stride;
        for (index s = begin; s < end; ++s, to += array.time_stride) std::fill_n(to, width, T(0));
    };
    // body(begin, end) for parts of begin .. end.
    const auto by_tasks = [&](index begin, index end, index elements, const auto& body) {
        const index bytes = larger(1, elements * index{sizeof(T)});
        const index size = larger(1, zeros_bytes_per_task / bytes);
        for_tasks(team, next, ceil_div(end - begin, size), [&](index task) {
            const index first = begin + task * size;
            body(first, smaller(end, first + size));
        });
    };
    if (array.time_stride < array.batch_stride) {
        by_tasks(0, batch, steps * width, [&](index begin, index end) {
            for (index i = begin; i < end; ++i) clear(i, schedule.length[i], steps);
        });
    } else {
        by_tasks(full, steps, batch * width, [&](index begin, index end) {
            for (index s = begin; s < end; ++s) {
                const index active = s < schedule.steps ? schedule.active[s] : 0;
                for (index i = active; i < batch; ++i) clear(i, s, s + 1);
            }
        });
    }
}

}  // namespace fastrnn
