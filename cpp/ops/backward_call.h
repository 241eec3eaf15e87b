// What the backward pass of one layer in one direction is given, and the arrays that it works in.
#pragma once

#include "ops/costs.h"
#include "ops/direction.h"
#include "ops/weights.h"

namespace fastrnn {

// Panels of x (or h) that a task packs at once, so that the gates' gradients stream by half as
// often.
constexpr index panels_per_task = 2;

template <class T>
index row_sums_stride(const CellKernels<T>& cell, index L, index rows) {
    return ChunkLayout::padded(rows * cell.gates * L, sizeof(T));
}

// The arrays that one layer and direction after another works in.
template <class T>
struct BackwardWorkspace {
    BackwardWorkspace(const Plan& plan, const KernelTable<T>& table, const CellKernels<T>& cell,
                      index threads, index input, index x_rows, T* given_row_sums) {
        const Schedule& schedule = plan.schedule;
        const index L = table.lanes, hidden = plan.shape.hidden_size, units = ceil_div(hidden, L);
        const index width = cell.slots * L, terms = hidden * cell.gates,
                    states = units * schedule.batch * L;
        index tokens = 0;
        for (index c = 0; c < schedule.chunks(); ++c)
            tokens = larger(tokens, schedule.chunk_tokens(c));
        dh = Buffer<T>(states);
        if (cell.has_c) {
            dc = Buffer<T>(states);
            c_start = Buffer<T>(states);
        }
        w_hh = Buffer<T>(terms * units * L, Pages::large);
        w_ih = Buffer<T>(terms * round_up(input, L), Pages::large);
        bias_sums = Buffer<T>(units * width);
        const index chunk_gates = units * ChunkLayout::padded(tokens * width, sizeof(T));
        for (index c = 0; c < smaller(2, schedule.chunks()); ++c)
            dgates[c] = Buffer<T>(chunk_gates);
        if (plan.shape.recompute != Recompute::none && cell.keeps_gates) {
            gates = Buffer<T>(chunk_gates);
            forward_weights = make_packed_layer(table, cell, hidden, input);
        }
        if (plan.shape.recompute == Recompute::checkpoint && cell.has_c)
            c = Buffer<T>(units * ChunkLayout::padded(tokens * L, sizeof(T)));
        panel_stride = smaller(larger(tokens, x_rows), terms_in_a_chain) * table.outer_panel * L;
        row_stride = row_sums_stride<T>(cell, L, x_rows);
        if (x_rows > 0 && !given_row_sums) own_row_sums = Buffer<T>(units * row_stride);
        row_sums = given_row_sums ? given_row_sums : own_row_sums.data();
        panels = Buffer<T>(panel_stride * panels_per_task * threads);
    }

    Buffer<T> dh, dc, c_start;  // [U][B][L]
    Buffer<T> w_hh, w_ih;       // transposed and packed
    Buffer<T> bias_sums;        // [U][slots][L]
    Buffer<T> dgates[2];        // [U][tokens of a chunk][slots][L], chunk after chunk in turn
    Buffer<T> panels;           // each member's packed columns of x or h
    index panel_stride;
    // [U][rows][gates][L], row_stride between the units: where tokens share rows of x, the sums of
    // their gates' gradients by row.
    T* row_sums;
    index row_stride;
    Buffer<T> own_row_sums;
    // Where the gates are computed again, those of a chunk, the c if need be, and the weights as
    // the forward pass packs them.
    Buffer<T> gates, c;
    PackedLayer<T> forward_weights;
};

// One layer and direction.
template <class T>
struct BackwardDirectionCall {
    Tensor3<const T> x, output, doutput, dcells;
    RowIndex x_rows;
    Tensor3<T> dx;
    const T *h0, *c0, *dhn, *dcn;
    T *dh0, *dc0;
    LayerWeights<const T> weights;
    LayerWeights<T> dweights;  // null: not wanted
    bool accumulate;           // on top of what dweights hold
    index input;
    bool reverse;
};

}  // namespace fastrnn
