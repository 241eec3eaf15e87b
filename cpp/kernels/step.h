// One time step: what a cell provides, and what its equations are given.
//
// A cell provides (see lstm.h for a full example):
//   slots, gates, x_slot, h_slot   its numbers, as in table.h
//   x_gate, h_gate, has_c
//   units                          registers of hidden units in a tile
//   needs_h_prev                   whether its equations use h_{t-1} outside of the product
//   keeps_gates                    whether its backward equations use more of a step than h_t
//   begin(acc, slots, bias)        the accumulators of the recurrent product, where not narrow;
//                                  `bias`: these units' of ForwardStep::candidate_bias
//   carry_on(acc, slots, bias)     the same from the input's sums, where h_slot > x_slot
//   forward(ForwardUnits&, keep)   the equations, for some rows and one register of units
//   restore_c(slots, c_prev)       c_t, where has_c
//   backward(BackwardUnit&)        the gradients of the equations, for one row and one register
#pragma once

#include <type_traits>

#include "kernels/product.h"
#include "simd/math.h"

namespace fastrnn {
namespace {

// What a row stores of one register of units: [slots][L], of a narrow one [slots][n].
template <class T>
struct Slots {
    using V = Vec<std::remove_const_t<T>>;
    T* at;
    index n;  // 0: not narrow

    FASTRNN_INLINE V operator[](int k) const {
        return n > 0 ? load_first(at + k * n, n) : load(at + k * lanes<std::remove_const_t<T>>);
    }
    FASTRNN_INLINE void keep(int k, V v) const {
        if (n > 0) return store_first(at + k * n, v, n);
        store(at + k * lanes<T>, v);
    }
};

// Register u of a row; `n` as in Slots.
template <class Cell, class T, class Gate>
FASTRNN_INLINE Slots<Gate> slots_of(const GateRows<T>& gates, index u, index row, index n) {
    const index width = n > 0 ? gates.narrow_width : Cell::slots * lanes<std::remove_const_t<T>>;
    return {gates.data + u * gates.unit_stride + (gates.first + row) * width, n};
}

// One register of units of `rows` sequences, side by side.
template <class T, int rows>
struct ForwardUnits {
    using V = Group<T, rows>;
    V acc[4];                    // [gates] the arguments of the h side's slots
    Slots<T> slots[rows];        // kept for the backward pass
    Slots<const T> input[rows];  // the input's part; the same place, if sequences do not share it
    V h_prev, c_prev;
    V h, c;  // results

    FASTRNN_INLINE V from_input(int k) const {
        V v;
        FASTRNN_UNROLL
        for (int i = 0; i < rows; ++i) v.row[i] = input[i][k];
        return v;
    }
    FASTRNN_INLINE void keep(int k, const V& v) const {
        FASTRNN_UNROLL
        for (int i = 0; i < rows; ++i) slots[i].keep(k, v.row[i]);
    }
};

template <class T>
struct BackwardUnit {
    Slots<const T> slots;  // where the cell keeps its gates, else h
    Vec<T> h;
    Vec<T> dh, dc;  // in: of h_t and c_t; out: the parts that bypass the product
    Vec<T> h_prev, c_prev, c;
    Vec<T> dslots[4];  // results
};

// The units of register u, where it is narrow; else 0.
template <class T, class Step>
FASTRNN_INLINE index narrow_units(const Step& s, index u) {
    return s.gates.narrow_width > 0 && u == s.hidden / lanes<T> ? s.hidden % lanes<T> : 0;
}

}  // namespace
}  // namespace fastrnn
