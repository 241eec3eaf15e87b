// The few types that every level shares. Includes only the standard library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastrnn {

using index =
    std::int64_t;  // sizes, strides and offsets, counted in elements unless a name says bytes

enum class Cell { rnn_tanh, rnn_relu, lstm, gru };
constexpr int cell_count = 4;

enum class Activation {
    relu,
    leaky_relu,
    elu,
    selu,
    softplus,
    softsign,
    exponential,
    hard_sigmoid,
    sigmoid,
    tanh,
    silu,
    gelu
};
constexpr int activation_count = 12;

// static: a kernel translation unit must not share code with one compiled for another ISA.
static inline constexpr index ceil_div(index a, index b) { return (a + b - 1) / b; }
static inline constexpr index round_up(index a, index b) { return ceil_div(a, b) * b; }
static inline constexpr index smaller(index a, index b) { return a < b ? a : b; }
static inline constexpr index larger(index a, index b) { return a > b ? a : b; }

}  // namespace fastrnn
