// Sums of outer products, the weights' gradients, and of columns, the biases'.
#pragma once

#include "kernels/product.h"
#include "simd/transpose.h"

namespace fastrnn {
namespace {

constexpr int outer_panel = registers == 32 ? 4 : 3;

// K is taken in pieces whose part of a and b stays in the first-level cache; the sums wait in
// `sums` in between, which changes no bit of them.
constexpr index outer_piece = 64;

template <class T>
constexpr index most_outer_columns = outer_panel * lanes<T>;

// Rows of x against NV registers of y.
template <class T, int NV>
struct OuterTile {
    const T* x;
    index x_stride;  // from term to term
    const T* y;
    index y_stride;
    bool y_streams;  // so that y, not x, is fetched a piece ahead
    index terms;
    T* sums;  // [rows][NV * L]
    bool first;

    template <int MR>
    FASTRNN_INLINE void tile(index row, index t) const {
        Tile<T, MR, NV> acc;
        T* const sum = sums + row * NV * lanes<T>;
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j)
                acc[i][j] = first ? zero<T>() : load(sum + (i * NV + j) * lanes<T>);
        }
        const T* a = x + row;
        const T* b = y;
        const index ahead_stride = y_streams ? y_stride : x_stride;
        const T* ahead = y_streams ? b + smaller(t, NV - 1) * lanes<T> : a;
        ahead += outer_piece * ahead_stride;
        FASTRNN_UNROLL_4
        for (index k = 0; k < terms; ++k, a += x_stride, b += y_stride, ahead += ahead_stride) {
            __builtin_prefetch(ahead, 0, 2);
            multiply_add<T, MR, NV>(acc, [&](int i) { return a + i; }, b);
        }
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j) store(sum + (i * NV + j) * lanes<T>, acc[i][j]);
        }
    }
};

// The rows of an outer tile from `from` on.
template <class T, int NV>
struct OuterRows {
    const OuterTile<T, NV>& tiles;
    index from;
    template <int MR>
    FASTRNN_INLINE void tile(index m, index t) const {
        tiles.template tile<MR>(from + m, t);
    }
};

// The row of c that belongs to element m of a; those of its group follow.
template <class T>
FASTRNN_INLINE T* outer_row(const OuterArgs<T>& p, index m) {
    return p.c + (p.group_row[m / p.width] + m % p.width) * p.c_stride;
}

// Rows of c that sums will be added to.
template <class T>
FASTRNN_INLINE void fetch_outer(const OuterArgs<T>& p, const T* c, index rows) {
    for (index i = 0; p.add && i < rows; ++i, c += p.c_stride) {
        for (index j = 0; j < p.columns; j += line<T>) __builtin_prefetch(c + j, 1, 2);
    }
}

// c[0 .. n) (+)= sum
template <class T>
FASTRNN_INLINE void outer_store(const OuterArgs<T>& p, T* c, Vec<T> sum, index n) {
    store_first(c, p.add ? load_first(c, n) + sum : sum, n);
}

template <class T, int NV>
__attribute__((noinline)) void outer_panel_at(const OuterArgs<T>& p) {
    constexpr int L = lanes<T>;
    alignas(64) T sums[most_outer_rows * NV * L];
    for (index m = 0; m < p.m; m += p.width) fetch_outer(p, outer_row(p, m), p.width_valid);
    for (index k = 0; k < p.terms; k += outer_piece) {
        const index terms = smaller(outer_piece, p.terms - k);
        const OuterTile<T, NV> tile{
            p.a + k * p.a_stride, p.a_stride, p.b + k * NV * L, NV * L, false, terms, sums, k == 0};
        // Groups of whole registers follow each other; of others the rest has no row in c.
        const bool whole = p.width_valid == p.width;
        for (index m = 0; m < p.m; m += whole ? p.m : p.width) {
            for_row_tiles<tile_rows(NV)>(OuterRows<T, NV>{tile, m}, whole ? p.m : p.width_valid);
        }
    }
    for (index m = 0; m < p.m; m += p.width) {
        T* c = outer_row(p, m);
        const T* sum = sums + m * NV * L;
        for (index i = 0; i < p.width_valid; ++i, c += p.c_stride, sum += NV * L) {
            for (index j = 0; j < p.columns; j += L)
                outer_store(p, c + j, load(sum + j), smaller(L, p.columns - j));
        }
    }
}

// The same sums with the sides changed: NV registers of a, from element `from` on, wait while each
// column that exists passes. Columns that end within a register leave no lane idle so.
template <class T, int NV>
__attribute__((noinline)) void outer_by_column(const OuterArgs<T>& p, index from) {
    constexpr int L = lanes<T>;
    alignas(64) T sums[most_outer_columns<T> * NV * L];
    for (int j = 0; j < NV; ++j) fetch_outer(p, outer_row(p, from + j * L), L);
    const index b_stride = p.vectors * L;
    for (index k = 0; k < p.terms; k += outer_piece) {
        const index terms = smaller(outer_piece, p.terms - k);
        const OuterTile<T, NV> tile{p.b + k * b_stride,
                                    b_stride,
                                    p.a + k * p.a_stride + from,
                                    p.a_stride,
                                    true,
                                    terms,
                                    sums,
                                    k == 0};
        for_row_tiles<tile_rows(NV)>(tile, p.columns);
    }
    for (int j = 0; j < NV; ++j) {
        T* const c = outer_row(p, from + j * L);
        for (index n = 0; n < p.columns; n += L) {
            Vec<T> square[L];  // of the last one, what is beyond the columns is not stored
            FASTRNN_UNROLL
            for (int i = 0; i < L; ++i) square[i] = load(sums + ((n + i) * NV + j) * L);
            transpose<T>(square);
            for (int i = 0; i < L; ++i)
                outer_store(p, c + i * p.c_stride + n, square[i], smaller(L, p.columns - n));
        }
    }
}

template <class T>
void outer(const OuterArgs<T>& p) {
    constexpr int L = lanes<T>;
    const bool whole_registers = p.width_valid == p.width && p.width % L == 0;
    if (whole_registers && p.columns % L > 0) {
        for (index m = 0; m < p.m; m += 4 * L) {
            with_width(smaller(4, (p.m - m) / L),
                       [&](auto width) { outer_by_column<T, decltype(width)::value>(p, m); });
        }
    } else {
        with_width(p.vectors, [&](auto width) { outer_panel_at<T, decltype(width)::value>(p); });
    }
}

template <class T>
void column_sums(const T* a, index stride, index rows, index columns, T* sums) {
    constexpr int L = lanes<T>;
    for (index j = 0; j < columns; j += L) {
        const index n = smaller(L, columns - j);
        Vec<T> total = zero<T>();
        for (index r = 0; r < rows; ++r) total += load_first(a + r * stride + j, n);
        store_first(sums + j, load_first(sums + j, n) + total, n);
    }
}

}  // namespace
}  // namespace fastrnn
