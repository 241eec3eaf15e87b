#include "ops/optimizers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "base/memory.h"
#include "dispatch/isa.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

// A pointwise operation on an element is worth about this many multiplications.
constexpr double pointwise_flops = 8;
constexpr index block_elements = 4096;  // of sums and of the optimisers' work

// A fixed part of a parameter: what one kernel call works on, whatever the number of threads.
struct Block {
    index parameter, begin, size;
};

template <class T>
struct Blocks {
    explicit Blocks(const std::vector<Parameter<T>>& all) : parameters(all), place(all.size()) {
        for (std::size_t p = 0; p < all.size(); ++p) {
            elements += static_cast<double>(all[p].size);
            // Of rows, a whole number.
            const index width = all[p].row ? larger(1, all[p].width) : 1;
            const index most = larger(1, block_elements / width) * width;
            for (index begin = 0; begin < all[p].size; begin += most)
                blocks.push_back(
                    {static_cast<index>(p), begin, smaller(most, all[p].size - begin)});
            if (!all[p].row || all[p].size == 0) continue;
            largest = larger(largest, most);
            place[p].assign(static_cast<std::size_t>(all[p].size / width), -1);
            for (index i = 0; i < all[p].rows; ++i) {
                index& at = place[p][static_cast<std::size_t>(all[p].row[i])];
                if (at >= 0) {
                    throw std::invalid_argument("ids: expected each once, got " +
                                                std::to_string(all[p].row[i]) + " twice");
                }
                at = i;
            }
        }
    }

    index count() const { return static_cast<index>(blocks.size()); }

    // The gradient of a block; `space`, of `largest` elements, is for one that is not there as
    // such.
    const T* gradient(const Block& b, T* space) const {
        const auto number = static_cast<std::size_t>(b.parameter);
        const Parameter<T>& p = parameters[number];
        if (!p.row) return p.all.gradient + b.begin;
        const index* const at = place[number].data();
        for (index i = 0, row = b.begin / p.width; i < b.size; i += p.width, ++row) {
            if (at[row] >= 0) {
                std::copy_n(p.all.gradient + at[row] * p.width, p.width, space + i);
            } else {
                std::fill_n(space + i, p.width, T(0));
            }
        }
        return space;
    }

    double sum_of_squares(const Block& b, T* space) const {
        return current_table<T>().sum_of_squares(gradient(b, space), b.size);
    }

    const std::vector<Parameter<T>>& parameters;
    std::vector<Block> blocks;
    std::vector<std::vector<index>> place;  // of a parameter's rows among its gradient's, or -1
    index largest = 0;                      // block of a parameter whose gradient has rows
    double elements = 0;
};

// What brings a norm down to the limit. As in Keras, a norm that is not finite makes NaN of what it
// scales, so that it is seen.
double down_to(double norm, double limit) {
    if (norm <= limit) return 1;
    return limit / norm + (norm - norm);
}

// Each parameter's scale, from the blocks' sums of squares.
template <class T>
void find_scales(const Blocks<T>& blocks, const std::vector<double>& squares,
                 const Clipping& clipping, std::vector<double>& scales) {
    const bool together = clipping.kind == ClipKind::global_norm;
    std::vector<double> sums(together ? 1 : scales.size(), 0.0);
    for (std::size_t i = 0; i < squares.size(); ++i)
        sums[together ? 0 : static_cast<std::size_t>(blocks.blocks[i].parameter)] += squares[i];
    for (std::size_t p = 0; p < scales.size(); ++p) {
        const double norm = std::sqrt(sums[together ? 0 : p]) * std::fabs(clipping.scale);
        scales[p] = clipping.scale * down_to(norm, clipping.limit);
    }
}

// update(clip, slice, elements) over all blocks, after the gradients' norms where clipping needs
// them.
template <class T, class Update>
void for_blocks(const std::vector<Parameter<T>>& parameters, const Clipping& clipping,
                double flops_per_element, const Update& update) {
    const Blocks<T> blocks(parameters);
    const bool norms = clipping.kind == ClipKind::norm || clipping.kind == ClipKind::global_norm;
    std::vector<double> scales(parameters.size(), clipping.scale);
    std::vector<double> squares(norms ? blocks.blocks.size() : 0);
    const T limit = clipping.kind == ClipKind::value ? static_cast<T>(clipping.limit)
                                                     : std::numeric_limits<T>::infinity();
    const double flops = blocks.elements * flops_per_element;
    run(threads_worth(flops, blocks.count()), flops, [&](Team& team) {
        const Team::Range range = team.split(blocks.count());
        const Buffer<T> space(blocks.largest);
        if (norms) {
            for (index i = range.begin; i < range.end; ++i) {
                const auto at = static_cast<std::size_t>(i);
                squares[at] = blocks.sum_of_squares(blocks.blocks[at], space.data());
            }
            team.barrier();
            if (team.rank() == 0) find_scales(blocks, squares, clipping, scales);
            team.barrier();
        }
        for (index i = range.begin; i < range.end; ++i) {
            const Block& b = blocks.blocks[static_cast<std::size_t>(i)];
            const T scale = static_cast<T>(scales[static_cast<std::size_t>(b.parameter)]);
            const ParameterSlice<T>& all = parameters[static_cast<std::size_t>(b.parameter)].all;
            ParameterSlice<T> part = {all.value + b.begin, blocks.gradient(b, space.data()), {}};
            for (int s = 0; s < most_slots; ++s)
                part.slot[s] = all.slot[s] ? all.slot[s] + b.begin : nullptr;
            update(GradientClip<T>{scale, limit}, part, b.size);
        }
    });
}

}  // namespace

template <class T>
void sgd(const std::vector<Parameter<T>>& parameters, const SgdStep<T>& step,
         const Clipping& clipping) {
    for_blocks(parameters, clipping, pointwise_flops,
               [&](const GradientClip<T>& clip, const ParameterSlice<T>& slice, index n) {
                   current_table<T>().sgd(step, clip, slice, n);
               });
}

template <class T>
void adam(const std::vector<Parameter<T>>& parameters, const AdamStep<T>& step,
          const Clipping& clipping) {
    for_blocks(parameters, clipping, 2 * pointwise_flops,
               [&](const GradientClip<T>& clip, const ParameterSlice<T>& slice, index n) {
                   current_table<T>().adam(step, clip, slice, n);
               });
}

template <class T>
void rmsprop(const std::vector<Parameter<T>>& parameters, const RmspropStep<T>& step,
             const Clipping& clipping) {
    for_blocks(parameters, clipping, 2 * pointwise_flops,
               [&](const GradientClip<T>& clip, const ParameterSlice<T>& slice, index n) {
                   current_table<T>().rmsprop(step, clip, slice, n);
               });
}

template <class T>
double global_norm(const std::vector<Parameter<T>>& parameters) {
    const Blocks<T> blocks(parameters);
    std::vector<double> squares(blocks.blocks.size());
    for_ranges(blocks.count(), blocks.elements * pointwise_flops, [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const auto at = static_cast<std::size_t>(i);
            squares[at] = blocks.sum_of_squares(blocks.blocks[at], nullptr);
        }
    });
    double total = 0;
    for (const double s : squares) total += s;
    return std::sqrt(total);
}

#define FASTRNN_INSTANTIATE(T)                                                                 \
    template void sgd(const std::vector<Parameter<T>>&, const SgdStep<T>&, const Clipping&);   \
    template void adam(const std::vector<Parameter<T>>&, const AdamStep<T>&, const Clipping&); \
    template void rmsprop(const std::vector<Parameter<T>>&, const RmspropStep<T>&,             \
                          const Clipping&);                                                    \
    template double global_norm(const std::vector<Parameter<T>>&);
FASTRNN_INSTANTIATE(float)
FASTRNN_INSTANTIATE(double)
#undef FASTRNN_INSTANTIATE

}  // namespace fastrnn
