// Sums of outer products, the weights' gradients, and of columns, the biases'.
#pragma once

#include "kernels/product.h"

namespace fastrnn {
namespace {

constexpr int outer_panel = registers == 32 ? 4 : 3;

// K is taken in pieces whose part of a and b stays in the first-level cache; the sums wait in
// `sums` in between, which changes no bit of them.
constexpr index outer_piece = 64;

template <class T, int NV>
struct OuterTile {
    const T* a;
    index a_stride;
    const T* b;
    index terms;
    T* sums;  // [m][NV * L]
    bool first;

    template <int MR>
    FASTRNN_INLINE void tile(index m, index) const {
        Tile<T, MR, NV> acc;
        T* const sum = sums + m * NV * lanes<T>;
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j)
                acc[i][j] = first ? zero<T>() : load(sum + (i * NV + j) * lanes<T>);
        }
        const T* x = a + m;
        const T* y = b;
        FASTRNN_UNROLL_4
        for (index k = 0; k < terms; ++k, x += a_stride, y += NV * lanes<T>) {
            __builtin_prefetch(x + outer_piece * a_stride, 0, 2);
            multiply_add<T, MR, NV>(acc, [&](int i) { return x + i; }, y);
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

template <class T, int NV>
__attribute__((noinline)) void outer_panel_at(const OuterArgs<T>& p) {
    constexpr int L = lanes<T>;
    alignas(64) T sums[most_outer_rows * NV * L];
    const auto row_of_c = [&](index group, index place) {
        return p.c + (p.group_row[group] + place) * p.c_stride;
    };
    for (index m = 0; p.add && m < p.m; ++m) {
        for (index j = 0; j < p.columns; j += line<T>) {
            __builtin_prefetch(row_of_c(m / p.width, m % p.width) + j, 1, 2);
        }
    }
    for (index k = 0; k < p.terms; k += outer_piece) {
        const OuterTile<T, NV> tile{p.a + k * p.a_stride,
                                    p.a_stride,
                                    p.b + k * NV * L,
                                    smaller(outer_piece, p.terms - k),
                                    sums,
                                    k == 0};
        // Groups of whole registers follow each other; of others the rest has no row in c.
        const bool whole = p.width_valid == p.width;
        for (index m = 0; m < p.m; m += whole ? p.m : p.width) {
            for_row_tiles<tile_rows(NV)>(OuterRows<T, NV>{tile, m}, whole ? p.m : p.width_valid);
        }
    }
    const T* sum = sums;
    for (index group = 0; group * p.width < p.m; ++group) {
        for (index place = 0; place < p.width; ++place, sum += NV * L) {
            if (place >= p.width_valid) continue;
            T* const c = row_of_c(group, place);
            for (index j = 0; j < p.columns; j += L) {
                const index n = smaller(L, p.columns - j);
                const Vec<T> v = load(sum + j);
                store_first(c + j, p.add ? load_first(c + j, n) + v : v, n);
            }
        }
    }
}

template <class T>
void outer(const OuterArgs<T>& p) {
    switch (p.vectors) {
        case 1:
            outer_panel_at<T, 1>(p);
            break;
        case 2:
            outer_panel_at<T, 2>(p);
            break;
        case 3:
            outer_panel_at<T, 3>(p);
            break;
        default:
            outer_panel_at<T, 4>(p);
            break;
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
