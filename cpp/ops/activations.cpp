#include "ops/activations.h"

#include <algorithm>

#include "base/memory.h"
#include "dispatch/isa.h"
#include "ops/costs.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

// Rows whose part of a parameter's gradient is one chain; the parts are added in order.
constexpr index rows_in_a_block = 64;

template <class T>
const ActivationKernels<T>& kernels_of(Activation activation) {
    return current_table<T>().activation[static_cast<int>(activation)];
}

}  // namespace

bool keeps_input(Activation activation) { return kernels_of<float>(activation).from_input; }

template <class T>
void activation_forward(Activation activation, const T* x, T* y, index n) {
    for_ranges(n, static_cast<double>(n) * transcendental_flops, [&](index begin, index end) {
        kernels_of<T>(activation).forward(x + begin, y + begin, end - begin);
    });
}

template <class T>
void activation_backward(Activation activation, const T* kept, const T* dy, T* dx, index n) {
    for_ranges(n, static_cast<double>(n) * transcendental_flops / 2, [&](index begin, index end) {
        kernels_of<T>(activation).backward(kept + begin, dy + begin, dx + begin, end - begin);
    });
}

template <class T>
void softmax_forward(const T* x, index rows, index n, T* y) {
    for_ranges(rows, static_cast<double>(rows * n) * transcendental_flops,
               [&](index begin, index end) {
                   for (index i = begin; i < end; ++i)
                       current_table<T>().softmax_row(x + i * n, y + i * n, n);
               });
}

template <class T>
void softmax_backward(const T* y, const T* dy, index rows, index n, T* dx) {
    for_ranges(rows, static_cast<double>(rows * n) * 4, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            current_table<T>().softmax_row_backward(y + i * n, dy + i * n, dx + i * n, n);
    });
}

template <class T>
void layer_norm_forward(const LayerNorm<T>& norm, double eps, T* y) {
    const index n = norm.n;
    for_ranges(norm.rows, static_cast<double>(norm.rows * n) * 8, [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            current_table<T>().layer_norm_row(
                {norm.x + i * n, n, norm.gamma, norm.beta, norm.mean + i, norm.rstd + i},
                static_cast<T>(eps), y + i * n);
        }
    });
}

template <class T>
void layer_norm_backward(const LayerNorm<T>& norm, const T* dy, T* dx, T* dgamma, T* dbeta) {
    const index n = norm.n, blocks = ceil_div(norm.rows, rows_in_a_block);
    const Buffer<T> parts(2 * blocks * n);
    for_ranges(blocks, static_cast<double>(norm.rows * n) * 16, [&](index first, index last) {
        for (index block = first; block < last; ++block) {
            T *const gamma = parts.data() + 2 * block * n, *const beta = gamma + n;
            std::fill_n(gamma, 2 * n, T(0));
            const index end = smaller(norm.rows, (block + 1) * rows_in_a_block);
            for (index i = block * rows_in_a_block; i < end; ++i) {
                current_table<T>().layer_norm_row_backward(
                    {norm.x + i * n, n, norm.gamma, nullptr, norm.mean + i, norm.rstd + i},
                    dy + i * n, dx ? dx + i * n : nullptr, dgamma ? gamma : nullptr,
                    dbeta ? beta : nullptr);
            }
        }
    });
    const auto add_parts = [&](index offset, T* to) {
        if (!to) return;
        std::fill_n(to, n, T(0));
        for (index block = 0; block < blocks; ++block)
            current_table<T>().add_to(parts.data() + 2 * block * n + offset, to, n);
    };
    add_parts(0, dgamma);
    add_parts(n, dbeta);
}

#define FASTRNN_INSTANTIATE(T)                                                    \
    template void activation_forward(Activation, const T*, T*, index);            \
    template void activation_backward(Activation, const T*, const T*, T*, index); \
    template void softmax_forward(const T*, index, index, T*);                    \
    template void softmax_backward(const T*, const T*, index, index, T*);         \
    template void layer_norm_forward(const LayerNorm<T>&, double, T*);            \
    template void layer_norm_backward(const LayerNorm<T>&, const T*, T*, T*, T*);
FASTRNN_INSTANTIATE(float)
FASTRNN_INSTANTIATE(double)
#undef FASTRNN_INSTANTIATE

}  // namespace fastrnn
