// One time step backward, once for all cells: elementwise, since the product is product.h's.
#pragma once

#include "kernels/step.h"

namespace fastrnn {
namespace {

template <class T>
FASTRNN_INLINE Vec<T> first_lanes(Vec<T> v, index n) {
    if (n == lanes<T>) return v;
    T whole[lanes<T>] = {};
    store_first(whole, v, n);
    return load(whole);
}

// What register u of a row needs, the next: it has lain in memory since the forward pass.
template <class Cell, class T>
FASTRNN_INLINE void fetch_unit(const BackwardStep<T>& s, index u, index row, index narrow) {
    constexpr int L = lanes<T>;
    const T* const gates = slots_of<Cell, T, const T>(s.gates, u, row, narrow).at;
    const T* const dgates = s.dgates + u * s.dgates_stride + row * (Cell::slots * L);
    FASTRNN_UNROLL
    for (int j = 0; j < Cell::slots * L; j += line<T>) {
        if constexpr (Cell::keeps_gates) __builtin_prefetch(gates + j, 0, 3);
        __builtin_prefetch(dgates + j, 1, 3);
    }
    if (Cell::has_c) {
        __builtin_prefetch(s.c + u * s.c_stride + row * L, 0, 3);
        __builtin_prefetch(s.c_prev + u * s.c_prev_stride + row * L, 0, 3);
    }
}

// One register of units; `narrow` as in Slots.
template <class Cell, class T>
FASTRNN_INLINE void backward_unit(const BackwardStep<T>& s, index u, index narrow) {
    constexpr int L = lanes<T>;
    const index column = u * L, n = smaller(L, s.hidden - column);
    const index narrow_next = narrow_units<T>(s, u + 1);
    for (index i = 0; i < s.rows; ++i) {
        const index row = s.row[i];
        BackwardUnit<T> unit;
        if constexpr (Cell::keeps_gates) {
            unit.slots = slots_of<Cell, T, const T>(s.gates, u, row, narrow);
        } else {
            unit.h = load_first(s.h + s.h_offset[row] + column, n);
        }
        T* dh = s.dh + u * s.state_stride + row * L;
        unit.dh = load(dh);
        if (s.doutput) unit.dh += load_first(s.doutput + s.doutput_offset[row] + column, n);
        if (Cell::needs_h_prev)
            unit.h_prev = load_first(s.h_prev + s.h_prev_offset[row] + column, n);
        T* dc = nullptr;
        if (Cell::has_c) {
            dc = s.dc + u * s.state_stride + row * L;
            unit.dc = load(dc);
            if (s.dcells) unit.dc += load_first(s.dcells + s.dcells_offset[row] + column, n);
            unit.c = load(s.c + u * s.c_stride + row * L);
            unit.c_prev = load(s.c_prev + u * s.c_prev_stride + row * L);
        }
        fetch_unit<Cell>(s, u + 1, row, narrow_next);
        Cell::template backward<T>(unit);
        store(dh, unit.dh);
        if (Cell::has_c) store(dc, unit.dc);
        // Lanes beyond H are cleared: an infinite input makes NaN of their zero weights, which
        // must not spread.
        T* dslots = s.dgates + u * s.dgates_stride + row * (Cell::slots * L);
        FASTRNN_UNROLL
        for (int g = 0; g < Cell::slots; ++g)
            store(dslots + g * L, first_lanes<T>(unit.dslots[g], n));
    }
}

// Rows that go through all units before the next ones do. Rows of h and of doutput follow each
// other; one register of many rows has a cache line in each, of which few share the first-level
// cache where H is a power of two.
constexpr index rows_in_turn = 8;

template <class Cell, class T>
void backward_step(const BackwardStep<T>& all) {
    BackwardStep<T> s = all;
    for (index first = 0; first < all.rows; first += rows_in_turn) {
        s.row = all.row + first;
        s.rows = smaller(rows_in_turn, all.rows - first);
        for (index u = s.unit_begin; u < s.unit_end; ++u) {
            const index narrow = narrow_units<T>(s, u);
            if (narrow > 0) {
                backward_unit<Cell>(s, u, narrow);
            } else {
                backward_unit<Cell>(s, u, 0);
            }
        }
    }
}

}  // namespace
}  // namespace fastrnn
