// Packing: weights and operands copied once into the order in which the micro-kernel reads them.
#pragma once

#include "kernels/table.h"
#include "simd/transpose.h"

namespace fastrnn {
namespace {

// Columns that a row of weights is fetched ahead: rows are often 4 KiB apart, a page each, which
// the hardware does not follow.
constexpr index fetched_columns = 128;

// packed[p * packed_stride + lane] = rows[lane][p] for p < k: a transposing copy of one register's
// worth of rows; a row that is null counts as zeros.
template <class T>
void pack_register(const T* const (&rows)[lanes<T>], index k, T* packed, index packed_stride) {
    constexpr int L = lanes<T>;
    index p = 0;
    for (; p + L <= k; p += L) {
        Vec<T> square[L];
        FASTRNN_UNROLL
        for (int lane = 0; lane < L; ++lane) {
            square[lane] = zero<T>();
            if (!rows[lane]) continue;
            square[lane] = load(rows[lane] + p);
            __builtin_prefetch(rows[lane] + p + fetched_columns);
        }
        transpose<T>(square);
        FASTRNN_UNROLL
        for (int i = 0; i < L; ++i) store(packed + (p + i) * packed_stride, square[i]);
    }
    for (; p < k; ++p) {
        for (int lane = 0; lane < L; ++lane) {
            packed[p * packed_stride + lane] = rows[lane] ? rows[lane][p] : T(0);
        }
    }
}

template <class T>
void pack_gates(const PackGates<T>& a) {
    constexpr int L = lanes<T>;
    const bool narrow = a.narrow && a.unit_end * L > a.hidden;
    const index vectors = (a.unit_end - a.unit_begin - narrow) * a.gates;
    for (index v = 0; v < vectors; ++v) {
        const index unit = (a.unit_begin + v / a.gates) * L, gate = a.gate[v % a.gates];
        const T* rows[L];
        for (int lane = 0; lane < L; ++lane) {
            rows[lane] = unit + lane < a.hidden
                             ? a.weight + (gate * a.hidden + unit + lane) * a.stride
                             : nullptr;
        }
        const index first = v / a.panel * a.panel, width = smaller(a.panel, vectors - first);
        pack_register<T>(rows, a.k, a.packed + first * a.k * L + (v - first) * L, width * L);
    }
    const index n = a.hidden % L, width = narrow ? ceil_div(a.gates * n, L) : 0;
    for (index v = 0; v < width; ++v) {
        const T* rows[L];
        for (int lane = 0; lane < L; ++lane) {
            const index column = v * L + lane, unit = a.hidden - n + column % n;
            rows[lane] = column < a.gates * n
                             ? a.weight + (a.gate[column / n] * a.hidden + unit) * a.stride
                             : nullptr;
        }
        pack_register<T>(rows, a.k, a.packed + (vectors * a.k + v) * L, width * L);
    }
}

template <class T>
void pack_columns(const T* weight, index stride, index columns, index k, index panel, T* packed) {
    const int plain = 0;
    // In one piece: Clang would make a constructor of it, which the linker could share.
    pack_gates(PackGates<T>{weight, stride, columns, k, 1, &plain, 0, ceil_div(columns, lanes<T>),
                            panel, false, packed});
}

template <class T>
void copy_row(const T* from, index columns, index width, T* to) {
    index j = 0;
    for (; j + lanes<T> <= columns; j += lanes<T>) store(to + j, load(from + j));
    for (; j < columns; ++j) to[j] = from[j];
    for (; j < width; ++j) to[j] = T(0);
}

template <class T>
void pack_rows(const T* source, const index* offset, index rows, index columns, index width,
               T* packed) {
    for (index i = 0; i < rows; ++i)
        copy_row(source + offset[i], columns, width, packed + i * width);
}

template <class T>
void pack_gates_transposed(const PackGates<T>& a, index column_begin, index column_end) {
    constexpr int L = lanes<T>;
    T* to = a.packed;
    for (index n = column_begin; n < column_end; n += a.panel * L) {
        const index columns = smaller(a.panel * L, column_end - n), width = round_up(columns, L);
        for (index u = a.unit_begin; u < a.unit_end; ++u) {
            const index end = smaller(a.hidden, (u + 1) * L);
            for (int g = 0; g < a.gates; ++g) {
                for (index unit = u * L; unit < end; ++unit, to += width) {
                    copy_row(a.weight + (a.gate[g] * a.hidden + unit) * a.stride + n, columns,
                             width, to);
                }
            }
        }
    }
}

}  // namespace
}  // namespace fastrnn
