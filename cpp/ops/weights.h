// Packing of a layer's weights, shared between the members of a team.
#pragma once

#include <algorithm>

#include "ops/recurrent.h"
#include "parallel/team.h"

namespace fastrnn {

template <class T>
PackedLayer<T> make_packed_layer(const KernelTable<T>& table, const CellKernels<T>& cell,
                                 index hidden, index input) {
    const index units = ceil_div(hidden, table.lanes), vectors = units * cell.gates;
    PackedLayer<T> p;
    p.w_ih = Buffer<T>(vectors * table.lanes * input, Pages::large);
    p.w_hh = Buffer<T>(vectors * table.lanes * hidden, Pages::large);
    p.bias = Buffer<T>(vectors * table.lanes);
    p.candidate_bias = Buffer<T>((units + cell.gates) * table.lanes);
    return p;
}

// Packs the registers of units unit_begin .. unit_end, which begin on a panel.
template <class T>
void pack_layer(const KernelTable<T>& table, const CellKernels<T>& cell,
                const LayerWeights<const T>& w, index hidden, index input, index unit_begin,
                index unit_end, const PackedLayer<T>& packed) {
    const index L = table.lanes;
    const bool narrow = narrow_width(cell, L, hidden) > 0;
    PackGates<T> args;
    args.narrow = narrow;
    args.hidden = hidden, args.gates = cell.gates, args.panel = cell.panel;
    args.unit_begin = unit_begin, args.unit_end = unit_end;

    args.weight = w.w_ih, args.stride = w.w_ih_stride, args.k = input, args.gate = cell.x_gate;
    args.packed = packed.w_ih.data() + unit_begin * cell.gates * L * input;
    table.pack_gates(args);

    args.weight = w.w_hh, args.stride = w.w_hh_stride, args.k = hidden, args.gate = cell.h_gate;
    args.packed = packed.w_hh.data() + unit_begin * cell.gates * L * hidden;
    table.pack_gates(args);

    const auto of_unit = [&](const T* b, index gate, index unit) {
        return b && unit < hidden ? b[gate * hidden + unit] : T(0);
    };
    for (index u = unit_begin; u < unit_end; ++u) {
        // Of a narrow register the gates lie side by side, zeros after them; the one gate whose
        // recurrent bias stays apart is the last.
        const index n = narrow && u == hidden / L ? hidden % L : L;
        T* const bias = packed.bias.data() + u * cell.gates * L;
        T* const candidate_bias = packed.candidate_bias.data() + u * L;
        std::fill_n(bias, cell.gates * L, T(0));
        std::fill_n(candidate_bias, n < L ? cell.gates * L : L, T(0));
        for (index lane = 0; lane < n; ++lane) {
            const index unit = u * L + lane;
            for (int j = 0; j < cell.gates; ++j) {
                const int slot = cell.x_slot + j;
                T& sum = bias[j * n + lane];
                sum = of_unit(w.b_ih, cell.x_gate[j], unit);
                // A slot that both products fill has both biases in its one chain; else the
                // recurrent one stays apart.
                if (slot >= cell.h_slot)
                    sum += of_unit(w.b_hh, cell.h_gate[slot - cell.h_slot], unit);
            }
            if (cell.h_slot > cell.x_slot) {
                candidate_bias[(n < L ? (cell.gates - 1) * n : 0) + lane] =
                    of_unit(w.b_hh, cell.h_gate[cell.gates - 1], unit);
            }
        }
    }
}

}  // namespace fastrnn
