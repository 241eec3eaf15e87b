// All cells, as the kernel table has them.
#pragma once

#include "kernels/backward_step.h"
#include "kernels/forward_step.h"
#include "kernels/gru.h"
#include "kernels/lstm.h"
#include "kernels/rnn.h"

namespace fastrnn {
namespace {

template <class Cell, class T>
constexpr CellKernels<T> cell_kernels() {
    CellKernels<T> k{Cell::slots,
                     Cell::gates,
                     Cell::x_slot,
                     Cell::h_slot,
                     {},
                     {},
                     Cell::units * Cell::gates,
                     row_panels<T>(Cell::units * Cell::gates),
                     Cell::has_c,
                     Cell::keeps_gates,
                     forward_step<Cell, T>,
                     backward_step<Cell, T>,
                     nullptr,
                     nullptr};
    if constexpr (Cell::keeps_gates) k.recompute = recompute_step<Cell, T>;
    if constexpr (Cell::has_c) k.restore_c = restore_c_step<Cell, T>;
    for (int g = 0; g < Cell::gates; ++g) {
        k.x_gate[g] = Cell::x_gate[g];
        k.h_gate[g] = Cell::h_gate[g];
    }
    return k;
}

}  // namespace
}  // namespace fastrnn
