// Packing of a layer's weights, shared between the members of a team.
#pragma once

#include "ops/recurrent.h"
#include "parallel/team.h"

namespace fastrnn {

template <class T>
PackedLayer<T> make_packed_layer(const KernelTable<T>& table, const CellKernels<T>& cell,
                                 index hidden, index input) {
    const index units = ceil_div(hidden, table.lanes), vectors = units * cell.gates;
    PackedLayer<T> p;
    p.w_ih = Buffer<T>(vectors * table.lanes * input);
    p.w_hh = Buffer<T>(vectors * table.lanes * hidden);
    p.start = Buffer<T>(vectors * table.lanes);
    p.start_recurrent = Buffer<T>(units * table.lanes);
    return p;
}

// Packs the registers of units unit_begin .. unit_end, which begin on a panel.
template <class T>
void pack_layer(const KernelTable<T>& table, const CellKernels<T>& cell,
                const LayerWeights<const T>& w, index hidden, index input, index unit_begin,
                index unit_end, const PackedLayer<T>& packed) {
    const index L = table.lanes;
    PackGates<T> args;
    args.hidden = hidden, args.gates = cell.gates, args.panel = cell.panel;
    args.unit_begin = unit_begin, args.unit_end = unit_end;

    args.weight = w.w_ih, args.stride = w.w_ih_stride, args.k = input, args.gate = cell.x_gate;
    args.packed = packed.w_ih.data() + unit_begin * cell.gates * L * input;
    table.pack_gates(args);

    args.weight = w.w_hh, args.stride = w.w_hh_stride, args.k = hidden, args.gate = cell.h_gate;
    args.packed = packed.w_hh.data() + unit_begin * cell.gates * L * hidden;
    table.pack_gates(args);

    const auto bias = [&](const T* b, index gate, index unit) {
        return b && unit < hidden ? b[gate * hidden + unit] : T(0);
    };
    for (index unit = unit_begin * L; unit < unit_end * L; ++unit) {
        const index u = unit / L, lane = unit % L;
        for (int j = 0; j < cell.gates; ++j) {
            const int slot = cell.x_slot + j;
            T start = bias(w.b_ih, cell.x_gate[j], unit);
            // A slot that both products fill has both biases in its one chain; else the recurrent
            // one stays apart.
            if (slot >= cell.h_slot) start += bias(w.b_hh, cell.h_gate[slot - cell.h_slot], unit);
            packed.start[(u * cell.gates + j) * L + lane] = start;
        }
        if (cell.h_slot > cell.x_slot) {
            packed.start_recurrent[unit] = bias(w.b_hh, cell.h_gate[cell.gates - 1], unit);
        }
    }
}

}  // namespace fastrnn
