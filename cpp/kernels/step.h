// One time step, once for all cells: the recurrent product on tiles of registers, then the cell's
// equations.
//
// A cell provides (see lstm.h for a full example):
//   slots, gates, x_slot, h_slot   its numbers, as in table.h
//   x_gate, h_gate, has_c
//   units                          registers of hidden units in a tile
//   needs_h_prev                   whether its equations use h_{t-1} outside of the product
//   keeps_gates                    whether its backward equations use more of a step than h_t
//   start(acc, slots, start)       the accumulators of the recurrent product
//   forward(ForwardUnits&, keep)   the equations, for some rows and one register of units
//   restore_c(slots, c_prev)       c_t, where has_c
//   backward(BackwardUnit&)        ... for one row
#pragma once

#include <type_traits>

#include "kernels/product.h"
#include "simd/math.h"

namespace fastrnn {
namespace {

// One register of units of `rows` sequences, side by side.
template <class T, int rows>
struct ForwardUnits {
    using V = Group<T, rows>;
    V acc[4];        // [gates] the arguments of the h side's slots
    T* slots[rows];  // [slots][L] in: the input's part; out: kept for the backward pass
    V h_prev, c_prev;
    V h, c;  // results

    FASTRNN_INLINE V slot(int k) const {
        V v;
        FASTRNN_UNROLL
        for (int i = 0; i < rows; ++i) v.row[i] = load(slots[i] + k * lanes<T>);
        return v;
    }
    FASTRNN_INLINE void keep(int k, const V& v) const {
        FASTRNN_UNROLL
        for (int i = 0; i < rows; ++i) store(slots[i] + k * lanes<T>, v.row[i]);
    }
};

template <class T>
struct BackwardUnit {
    const T* slots;  // where the cell keeps its gates, else h
    Vec<T> h;
    Vec<T> dh, dc;  // in: of h_t and c_t; out: the parts that bypass the product
    Vec<T> h_prev, c_prev, c;
    Vec<T> dslots[4];  // results
};

// Step: ForwardStep, or RecomputeStep, which wants the gates alone.
template <class Cell, class T, int Units, class Step>
struct ForwardTile {
    static constexpr int NV = Units * Cell::gates;
    static constexpr bool gates_alone = std::is_same_v<Step, RecomputeStep<T>>;
    const Step& s;
    index unit;  // the first register of units
    const T* weight;
    const T* next;  // the weights that come after these

    template <int MR>
    __attribute__((noinline)) void tile(index first, index t) const {
        constexpr int L = lanes<T>;
        Tile<T, MR, NV> acc;
        const T* a[MR];
        T* gates[MR];
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            const index row = s.row[first + i];
            a[i] = s.h_prev + s.h_prev_offset[row];
            gates[i] = s.gates + unit * s.gates_stride + row * (Cell::slots * L);
            FASTRNN_UNROLL
            for (int u = 0; u < Units; ++u) {
                Cell::template start<T>(&acc[i][u * Cell::gates], gates[i] + u * s.gates_stride,
                                        s.start ? s.start + (unit + u) * L : nullptr);
            }
        }
        if constexpr (!gates_alone) fetch_ahead<MR>(first);
        accumulate<T, MR, NV>(acc, a, weight, s.hidden, share_ahead<T, NV>(next, t, s.hidden));
        finish_rows<MR, 0>(first, acc, a);
    }

    // The same rows of the next registers of units: the weights that stream by have pushed them out
    // of the near caches, and the accumulators cannot start without them.
    template <int MR>
    FASTRNN_INLINE void fetch_ahead(index first) const {
        constexpr int L = lanes<T>;
        for (int i = 0; i < MR; ++i) {
            const index row = s.row[first + i];
            FASTRNN_UNROLL
            for (int u = Units; u < 2 * Units; ++u) {
                const T* gates = s.gates + (unit + u) * s.gates_stride + row * (Cell::slots * L);
                for (int j = 0; j < Cell::slots * L; j += line<T>)
                    __builtin_prefetch(gates + j, 1, 2);
                if (Cell::has_c)
                    __builtin_prefetch(s.c_prev + (unit + u) * s.c_prev_stride + row * L, 0, 2);
            }
        }
    }

    // The rows from From on of the tile's MR.
    template <int MR, int From>
    FASTRNN_INLINE void finish_rows(index first, const Tile<T, MR, NV>& acc,
                                    const T* const (&h_prev)[MR]) const {
        constexpr int left = MR - From, groups = (left + 2) / 3, N = (left + groups - 1) / groups;
        FASTRNN_UNROLL
        for (int u = 0; u < Units; ++u) {
            ForwardUnits<T, N> units;
            FASTRNN_UNROLL
            for (int g = 0; g < Cell::gates; ++g) {
                FASTRNN_UNROLL
                for (int i = 0; i < N; ++i)
                    units.acc[g].row[i] = acc[From + i][u * Cell::gates + g];
            }
            finish(s.row + first + From, unit + u, h_prev + From, units);
        }
        if constexpr (left > N) finish_rows<MR, From + N>(first, acc, h_prev);
    }

    template <int N>
    FASTRNN_INLINE void finish(const index* rows, index u, const T* const* h_prev,
                               ForwardUnits<T, N>& units) const {
        constexpr int L = lanes<T>;
        const index column = u * L, n = smaller(L, s.hidden - column);
        FASTRNN_UNROLL
        for (int i = 0; i < N; ++i)
            units.slots[i] = s.gates + u * s.gates_stride + rows[i] * (Cell::slots * L);
        if constexpr (gates_alone) {  // h and c are not used, so the compiler leaves them out
            units.h_prev = units.c_prev = zero<T>();
            Cell::template forward<T, N>(units, true);
        } else {
            FASTRNN_UNROLL
            for (int i = 0; i < N; ++i) {
                if (Cell::needs_h_prev) units.h_prev.row[i] = load_first(h_prev[i] + column, n);
                if (Cell::has_c)
                    units.c_prev.row[i] = load(s.c_prev + u * s.c_prev_stride + rows[i] * L);
            }
            Cell::template forward<T, N>(units, s.keep);
            FASTRNN_UNROLL
            for (int i = 0; i < N; ++i) {
                store_first(s.h + s.h_offset[rows[i]] + column, units.h.row[i], n);
                if (Cell::has_c) {
                    store(s.c + u * s.c_stride + rows[i] * L, units.c.row[i]);
                    if (s.cells)
                        store_first(s.cells + s.cells_offset[rows[i]] + column, units.c.row[i], n);
                }
            }
        }
    }
};

// Units registers of units from `unit` on, or what is left of them.
template <class Cell, class T, int Units, class Step>
FASTRNN_INLINE void forward_units(const Step& s, index unit, const T* weight, const T* next) {
    if constexpr (Units > 1) {
        if (s.unit_end - unit < Units)
            return forward_units<Cell, T, Units - 1>(s, unit, weight, next);
    }
    for_row_tiles<tile_rows(Units * Cell::gates)>(
        ForwardTile<Cell, T, Units, Step>{s, unit, weight, next}, s.rows);
}

template <class Cell, class T, class Step>
FASTRNN_INLINE void for_units(const Step& s) {
    const T* weight = s.weight;
    for (index unit = s.unit_begin; unit < s.unit_end; unit += Cell::units) {
        const bool last = unit + Cell::units >= s.unit_end;  // then the next step begins anew
        const T* const next = weight + Cell::units * Cell::gates * lanes<T> * s.hidden;
        forward_units<Cell, T, Cell::units>(s, unit, weight, last ? s.weight : next);
        weight = next;
    }
}

template <class Cell, class T>
void forward_step(const ForwardStep<T>& s) {
    fetch_rows(s.h_prev, s.h_prev_offset, s.row, s.rows, s.hidden);
    for_units<Cell, T>(s);
}

template <class Cell, class T>
void recompute_step(const RecomputeStep<T>& s) {
    for_units<Cell, T>(s);
}

template <class Cell, class T>
void restore_c_step(const RestoreStep<T>& s) {
    constexpr int L = lanes<T>;
    for (index u = s.unit_begin; u < s.unit_end; ++u) {
        for (index i = 0; i < s.rows; ++i) {
            const index row = s.row[i];
            const Vec<T> c_prev = load(s.c_prev + u * s.c_prev_stride + row * L);
            store(s.c + u * s.c_stride + row * L,
                  Cell::template restore_c<T>(
                      s.gates + u * s.gates_stride + row * (Cell::slots * L), c_prev));
        }
    }
}

template <class T>
FASTRNN_INLINE Vec<T> first_lanes(Vec<T> v, index n) {
    if (n == lanes<T>) return v;
    T whole[lanes<T>] = {};
    store_first(whole, v, n);
    return load(whole);
}

// What the next register of units of a row needs: it has lain in memory since the forward pass.
template <class Cell, class T>
FASTRNN_INLINE void fetch_next_unit(const BackwardStep<T>& s, index u, index row) {
    constexpr int L = lanes<T>;
    const index place = row * (Cell::slots * L);
    FASTRNN_UNROLL
    for (int j = 0; j < Cell::slots * L; j += line<T>) {
        if constexpr (Cell::keeps_gates)
            __builtin_prefetch(s.gates + (u + 1) * s.gates_stride + place + j, 0, 3);
        __builtin_prefetch(s.dgates + (u + 1) * s.dgates_stride + place + j, 1, 3);
    }
    if (Cell::has_c) {
        __builtin_prefetch(s.c + (u + 1) * s.c_stride + row * L, 0, 3);
        __builtin_prefetch(s.c_prev + (u + 1) * s.c_prev_stride + row * L, 0, 3);
    }
}

template <class Cell, class T>
void backward_step(const BackwardStep<T>& s) {
    constexpr int L = lanes<T>;
    for (index u = s.unit_begin; u < s.unit_end; ++u) {
        const index column = u * L, n = smaller(L, s.hidden - column);
        for (index i = 0; i < s.rows; ++i) {
            const index row = s.row[i];
            BackwardUnit<T> unit;
            if constexpr (Cell::keeps_gates) {
                unit.slots = s.gates + u * s.gates_stride + row * (Cell::slots * L);
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
            fetch_next_unit<Cell>(s, u, row);
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
}

template <class Cell, class T>
constexpr CellKernels<T> cell_kernels() {
    CellKernels<T> k{Cell::slots,
                     Cell::gates,
                     Cell::x_slot,
                     Cell::h_slot,
                     {},
                     {},
                     Cell::units * Cell::gates,
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
