// One time step forward, once for all cells: the recurrent product on tiles of registers, then the
// cell's equations. What was not kept is computed again with the same tiles.
#pragma once

#include <type_traits>

#include "kernels/step.h"

namespace fastrnn {
namespace {

// Step: ForwardStep, or RecomputeStep, which wants the gates alone. Narrow: the registers that the
// gates of a narrow register of units fill; 0: of whole ones. Panels: of weights, several for a
// single row.
template <class Cell, class T, int Units, class Step, int Narrow = 0, int Panels = 1>
struct ForwardTile {
    static constexpr int whole = Units * Cell::gates, NV = Narrow > 0 ? Narrow : whole;
    static constexpr bool gates_alone = std::is_same_v<Step, RecomputeStep<T>>;
    const Step& s;
    index unit;  // the first register of units
    const T* weight;
    index next_unit;  // what comes after these
    const T* next;

    template <int MR>
    __attribute__((noinline)) void tile(index first, index t) const {
        Tile<T, MR, NV> acc;
        const T* a[MR];
        if (!with_input<MR>(first, t, acc)) {
            FASTRNN_UNROLL
            for (int i = 0; i < MR; ++i) begin(acc[i], s.row[first + i]);
        }
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) a[i] = s.h_prev + s.h_prev_offset[s.row[first + i]];
        if constexpr (!gates_alone && Narrow == 0) fetch_ahead<MR>(first);
        add_product<MR>(acc, a, s.hidden, weight, next, t);
        if constexpr (Narrow == 0) {
            finish_rows<MR, 0>(first, acc, a);
        } else {  // through memory: a gate begins at any lane
            constexpr int L = lanes<T>;
            alignas(64) NarrowRow gates[MR];
            FASTRNN_UNROLL
            for (int i = 0; i < MR; ++i) {
                FASTRNN_UNROLL
                for (int j = 0; j < NV; ++j) store(gates[i] + j * L, acc[i][j]);
                store(gates[i] + NV * L, zero<T>());
            }
            finish_narrow(first, MR, gates, a);
        }
    }

    template <int MR>
    FASTRNN_INLINE void add_product(Tile<T, MR, NV>& acc, const T* const (&a)[MR], index terms,
                                    const T* b, const T* next_b, index t) const {
        if constexpr (Panels == 1) {
            accumulate<T, MR, NV>(acc, a, b, terms, share_ahead<T, NV>(next_b, t, terms));
        } else {
            constexpr int width = NV / Panels;
            accumulate_row<T, Panels, width>(acc[0], a[0], b, width * lanes<T> * terms, terms);
        }
    }

    // Where this step makes the input's product too: that, from the biases on. True: the recurrent
    // product goes on from acc; false: begin() has to fill it.
    template <int MR>
    FASTRNN_INLINE bool with_input(index first, index t, Tile<T, MR, NV>& acc) const {
        if constexpr (gates_alone) {
            return false;
        } else {
            if (!s.x) return false;
            const T* const bias = s.bias + unit * Cell::gates * lanes<T>;
            const T* a[MR];
            FASTRNN_UNROLL
            for (int i = 0; i < MR; ++i) {
                a[i] = s.x + s.x_offset[s.row[first + i]];
                FASTRNN_UNROLL
                for (int j = 0; j < NV; ++j) acc[i][j] = load(bias + j * lanes<T>);
            }
            const auto weight_of = [&](index u) {
                return s.x_weight + (u - s.unit_begin) * Cell::gates * lanes<T> * s.inputs;
            };
            add_product<MR>(acc, a, s.inputs, weight_of(unit), weight_of(next_unit), t);
            if constexpr (Cell::h_slot > Cell::x_slot) {
                FASTRNN_UNROLL
                for (int i = 0; i < MR; ++i) set_input_aside(acc[i], s.row[first + i]);
                return Narrow == 0;
            }
            return true;
        }
    }

    // Where not all slots are both products': the accumulators of the input's become those of the
    // recurrent one or, of a narrow register, what begin() will load.
    FASTRNN_INLINE void set_input_aside(Vec<T>* acc, index row) const {
        constexpr int L = lanes<T>;
        if constexpr (Narrow == 0) {
            FASTRNN_UNROLL
            for (int u = 0; u < Units; ++u) {
                Cell::template carry_on<T>(acc + u * Cell::gates,
                                           slots_of<Cell, T, T>(s.gates, unit + u, row, 0).at,
                                           candidate_bias(unit + u));
            }
        } else {
            const index n = s.hidden % L;
            T* const slots = slots_of<Cell, T, T>(s.gates, unit, row, n).at + Cell::x_slot * n;
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j)
                store_first(slots + j * L, acc[j], larger(0, smaller(L, Cell::gates * n - j * L)));
        }
    }

    // The input's part of a row.
    FASTRNN_INLINE Slots<const T> input_of(index u, index row, index n) const {
        if constexpr (!gates_alone) {
            if (s.input_row) return slots_of<Cell, T, const T>(s.input, u, s.input_row[row], n);
        }
        return slots_of<Cell, T, const T>(s.gates, u, row, n);
    }

    FASTRNN_INLINE const T* candidate_bias(index u) const {
        return s.candidate_bias ? s.candidate_bias + u * lanes<T> : nullptr;
    }

    // The accumulators of a row: the input's part, and what else comes before the product.
    FASTRNN_INLINE void begin(Vec<T>* acc, index row) const {
        constexpr int L = lanes<T>;
        if constexpr (Narrow == 0) {
            FASTRNN_UNROLL
            for (int u = 0; u < Units; ++u) {
                Cell::template begin<T>(acc + u * Cell::gates, input_of(unit + u, row, 0).at,
                                        candidate_bias(unit + u));
            }
        } else {
            constexpr int from_input = Cell::x_slot + Cell::gates - Cell::h_slot;
            const index n = s.hidden % L;
            const T* const slots = input_of(unit, row, n).at + Cell::h_slot * n;
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j) {
                acc[j] = load_first(slots + j * L, larger(0, smaller(L, from_input * n - j * L)));
                if (from_input < Cell::gates)
                    acc[j] = either<T>(acc[j], load(s.candidate_bias + unit * L + j * L));
            }
        }
    }

    // The same rows of the next registers of units: the weights that stream by have pushed them out
    // of the near caches, and the accumulators cannot start without them.
    template <int MR>
    FASTRNN_INLINE void fetch_ahead(index first) const {
        constexpr int L = lanes<T>;
        const bool uses_gates = s.keep || !(s.x || s.input_row);
        for (int i = 0; i < MR; ++i) {
            const index row = s.row[first + i];
            FASTRNN_UNROLL
            for (int u = 0; u < Units; ++u) {
                const index n = narrow_units<T>(s, next_unit + u);
                if (uses_gates) {
                    const T* const gates = slots_of<Cell, T, T>(s.gates, next_unit + u, row, n).at;
                    for (int j = 0; j < Cell::slots * L; j += line<T>)
                        __builtin_prefetch(gates + j, 1, 2);
                }
                if (s.input_row) {
                    const T* const input = input_of(next_unit + u, row, n).at;
                    for (int j = 0; j < Cell::slots * L; j += line<T>)
                        __builtin_prefetch(input + j, 0, 2);
                }
                if (Cell::has_c)
                    __builtin_prefetch(s.c_prev + (next_unit + u) * s.c_prev_stride + row * L, 0,
                                       2);
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

    // The same for a narrow register, in a function for tiles of any height: there is no more to
    // gain from keeping these in registers.
    using NarrowRow = T[(NV + 1) * lanes<T>];
    __attribute__((noinline)) void finish_narrow(index first, int rows, const NarrowRow* gates,
                                                 const T* const* h_prev) const {
        int i = 0;
        for (; i + 2 < rows; i += 3) finish_some<3>(first + i, gates + i, h_prev + i);
        for (; i < rows; ++i) finish_some<1>(first + i, gates + i, h_prev + i);
    }
    template <int N>
    FASTRNN_INLINE void finish_some(index first, const NarrowRow* gates,
                                    const T* const* h_prev) const {
        ForwardUnits<T, N> units;
        FASTRNN_UNROLL
        for (int g = 0; g < Cell::gates; ++g) {
            FASTRNN_UNROLL
            for (int i = 0; i < N; ++i)
                units.acc[g].row[i] = load(gates[i] + g * (s.hidden % lanes<T>));
        }
        finish(s.row + first, unit, h_prev, units);
    }

    template <int N>
    FASTRNN_INLINE void finish(const index* rows, index u, const T* const* h_prev,
                               ForwardUnits<T, N>& units) const {
        constexpr int L = lanes<T>;
        const index column = u * L, n = smaller(L, s.hidden - column);
        FASTRNN_UNROLL
        for (int i = 0; i < N; ++i)
            units.slots[i] = slots_of<Cell, T, T>(s.gates, u, rows[i], Narrow > 0 ? n : 0);
        FASTRNN_UNROLL
        for (int i = 0; i < N; ++i) units.input[i] = input_of(u, rows[i], Narrow > 0 ? n : 0);
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

// `Units` registers of units from `unit` on, or what is `left` of them.
template <class Cell, class T, int Units, class Step>
FASTRNN_INLINE void forward_units(const Step& s, index left, index unit, const T* weight,
                                  index next_unit, const T* next) {
    if constexpr (Units > 1) {
        if (left < Units)
            return forward_units<Cell, T, Units - 1>(s, left, unit, weight, next_unit, next);
    }
    for_row_tiles<tile_rows(Units * Cell::gates)>(
        ForwardTile<Cell, T, Units, Step>{s, unit, weight, next_unit, next}, s.rows);
}

// A narrow register of units, whose gates fill `Registers` or more.
template <class Cell, class T, int Registers, class Step>
FASTRNN_INLINE void narrow_register(const Step& s, index unit, const T* weight, index next_unit,
                                    const T* next) {
    if constexpr (Registers < most_narrow_registers) {
        if (Cell::gates * (s.hidden % lanes<T>) > Registers * lanes<T>)
            return narrow_register<Cell, T, Registers + 1>(s, unit, weight, next_unit, next);
    }
    for_row_tiles<tile_rows(Registers)>(
        ForwardTile<Cell, T, 1, Step, Registers>{s, unit, weight, next_unit, next}, s.rows);
}

template <class Cell, class T, class Step>
FASTRNN_INLINE void for_units(const Step& s, bool back_to_front) {
    if (s.unit_begin >= s.unit_end) return;
    const bool narrow = narrow_units<T>(s, s.unit_end - 1) > 0;
    const index whole_end = s.unit_end - narrow, whole = whole_end - s.unit_begin;
    // In order: for a single row, several panels at once; panels; a narrow register.
    constexpr int panels = row_panels<T>(Cell::units * Cell::gates);
    constexpr int together = panels * Cell::units;
    const index groups = panels > 1 && s.rows == 1 ? whole / together : 0;
    const index count = groups + ceil_div(whole - groups * together, Cell::units) + narrow;
    const auto unit_of = [&](index n) {
        if (back_to_front) n = count - 1 - n;
        return s.unit_begin + smaller(n, groups) * together + larger(n - groups, 0) * Cell::units;
    };
    const auto weight_of = [&](index unit) {
        return s.weight + (unit - s.unit_begin) * Cell::gates * lanes<T> * s.hidden;
    };
    for (index n = 0; n < count; ++n) {
        const index unit = unit_of(n);
        const index next_unit = n + 1 < count ? unit_of(n + 1) : unit_of(0);
        const T *const weight = weight_of(unit), *const next = weight_of(next_unit);
        if (unit < s.unit_begin + groups * together) {
            if constexpr (panels > 1) {
                ForwardTile<Cell, T, together, Step, 0, panels>{s, unit, weight, next_unit, next}
                    .template tile<1>(0, 0);
            }
        } else if (unit < whole_end) {
            forward_units<Cell, T, Cell::units>(s, whole_end - unit, unit, weight, next_unit, next);
        } else if constexpr (Cell::units == 1 && Cell::gates > 1) {
            narrow_register<Cell, T, 1>(s, unit, weight, next_unit, next);
        }
    }
}

template <class Cell, class T>
void forward_step(const ForwardStep<T>& s) {
    fetch_rows(s.h_prev, s.h_prev_offset, s.row, s.rows, s.hidden);
    for_units<Cell, T>(s, s.back_to_front);
}

template <class Cell, class T>
void recompute_step(const RecomputeStep<T>& s) {
    for_units<Cell, T>(s, false);
}

template <class Cell, class T>
void restore_c_step(const RestoreStep<T>& s) {
    constexpr int L = lanes<T>;
    for (index u = s.unit_begin; u < s.unit_end; ++u) {
        const index narrow = narrow_units<T>(s, u);
        for (index i = 0; i < s.rows; ++i) {
            const index row = s.row[i];
            const Vec<T> c_prev = load(s.c_prev + u * s.c_prev_stride + row * L);
            const auto slots = slots_of<Cell, T, const T>(s.gates, u, row, narrow);
            store(s.c + u * s.c_stride + row * L, Cell::template restore_c<T>(slots, c_prev));
        }
    }
}

}  // namespace
}  // namespace fastrnn
