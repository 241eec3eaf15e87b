// Matrix products: the micro-kernel that every product and every cell shares, and the loops over
// its tiles.
//
// A tile is MR rows by NV registers of results, all held in registers while K runs. Each result is
// one chain of fma in the order of K, whatever the tile, so results do not depend on how the work
// was cut.
#pragma once

#include "kernels/table.h"
#include "simd/vec.h"

namespace fastrnn {
namespace {

// Rows of a tile of nv registers: as many accumulators as leave room for the operands, and no more
// rows than there are general registers for their pointers.
constexpr int tile_rows(int nv) {
    return registers == 32 ? (nv == 4 ? 6 : 8) : (nv == 4 ? 3 : nv == 3 ? 4 : nv == 2 ? 6 : 8);
}
constexpr int product_panel = registers == 32 ? 4 : 2;
constexpr int outer_panel = 3;

template <class T, int MR, int NV>
using Tile = Vec<T>[MR][NV];

// acc[i][j] += a[i][0 .. k) b[0 .. k)[j], b: [k][NV][L]
template <class T, int MR, int NV>
FASTRNN_INLINE void accumulate(Tile<T, MR, NV>& acc, const T* const (&a)[MR], const T* b, index k) {
    for (index p = 0; p < k; ++p, b += NV * lanes<T>) {
        Vec<T> column[NV];
        FASTRNN_UNROLL
        for (int j = 0; j < NV; ++j) column[j] = load(b + j * lanes<T>);
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            const Vec<T> x = broadcast(a[i][p]);
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, column[j], acc[i][j]);
        }
    }
}

// Calls Kernel::template tile<MR>(first) for tiles that cover `rows` as evenly as possible, MR <=
// Most.
template <int MR, class Kernel>
FASTRNN_INLINE void one_tile(const Kernel& kernel, index first, index rows) {
    if constexpr (MR > 1) {
        if (rows < MR) return one_tile<MR - 1>(kernel, first, rows);
    }
    kernel.template tile<MR>(first);
}

template <int Most, class Kernel>
FASTRNN_INLINE void for_row_tiles(const Kernel& kernel, index rows) {
    const index tiles = ceil_div(rows, Most);
    for (index t = 0, first = 0; t < tiles; ++t) {
        const index next = rows * (t + 1) / tiles;
        one_tile<Most>(kernel, first, next - first);
        first = next;
    }
}

// One panel of b, NV registers wide, against all rows of a.
template <class T, int NV>
struct PanelProduct {
    const ProductArgs<T>& p;
    const T* b;
    const T* start;
    index columns;    // elements of this panel that exist
    index place[NV];  // of each register in a row of c

    template <int MR>
    __attribute__((noinline)) void tile(index first) const {
        Tile<T, MR, NV> acc;
        const T* a[MR];
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            a[i] = p.a + p.a_offset[first + i];
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j) acc[i][j] = start ? load(start + j * lanes<T>) : zero<T>();
        }
        const T* panel = b;
        for (index r = 0; r < p.runs; ++r) {
            accumulate<T, MR, NV>(acc, a, panel, p.run);
            panel += p.run * NV * lanes<T>;
            FASTRNN_UNROLL
            for (int i = 0; i < MR; ++i) a[i] += p.run_stride;
        }
        const bool whole = columns >= NV * lanes<T>;
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j) {
                T* c = p.c + p.c_offset[first + i] + place[j];
                if (whole) {
                    store(c, p.add ? load(c) + acc[i][j] : acc[i][j]);
                } else {
                    const index n = larger(0, smaller(lanes<T>, columns - j * lanes<T>));
                    store_first(c, p.add ? load_first(c, n) + acc[i][j] : acc[i][j], n);
                }
            }
        }
    }
};

template <class T, int NV>
FASTRNN_INLINE void product_panel_at(const ProductArgs<T>& p, index v) {
    const index k = p.run * p.runs;
    PanelProduct<T, NV> panel{p,
                              p.b + v * k * lanes<T>,
                              p.start ? p.start + v * lanes<T> : nullptr,
                              p.columns - v * lanes<T>,
                              {}};
    for (int j = 0; j < NV; ++j) {
        panel.place[j] = (v + j) / p.group * p.group_stride + (v + j) % p.group * lanes<T>;
    }
    for_row_tiles<tile_rows(NV)>(panel, p.rows);
}

template <class T>
void product(const ProductArgs<T>& p) {
    for (index v = 0; v < p.vectors; v += p.panel) {
        switch (smaller(p.panel, p.vectors - v)) {
            case 1:
                product_panel_at<T, 1>(p, v);
                break;
            case 2:
                product_panel_at<T, 2>(p, v);
                break;
            case 3:
                product_panel_at<T, 3>(p, v);
                break;
            default:
                product_panel_at<T, 4>(p, v);
                break;
        }
    }
}

// ---- sums of outer products: the weights' gradients
// -----------------------------------------------------------------

template <class T, int NV>
struct OuterTile {
    const OuterArgs<T>& p;

    template <int MR>
    __attribute__((noinline)) void tile(index m) const {
        Tile<T, MR, NV> acc{};
        const T* a = p.a + m;
        const T* b = p.b;
        for (index k = 0; k < p.terms; ++k, a += p.a_stride, b += NV * lanes<T>) {
            Vec<T> column[NV];
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j) column[j] = load(b + j * lanes<T>);
            FASTRNN_UNROLL
            for (int i = 0; i < MR; ++i) {
                const Vec<T> x = broadcast(a[i]);
                FASTRNN_UNROLL
                for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, column[j], acc[i][j]);
            }
        }
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            const index group = (m + i) / p.width, place = (m + i) % p.width;
            if (place >= p.width_valid) continue;
            T* c = p.c + (p.group_row[group] + place) * p.c_stride;
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j) {
                const index n = larger(0, smaller(lanes<T>, p.columns - j * lanes<T>));
                T* to = c + j * lanes<T>;
                store_first(to, p.add ? load_first(to, n) + acc[i][j] : acc[i][j], n);
            }
        }
    }
};

template <class T>
void outer(const OuterArgs<T>& p) {
    switch (p.vectors) {
        case 1:
            for_row_tiles<tile_rows(1)>(OuterTile<T, 1>{p}, p.m);
            break;
        case 2:
            for_row_tiles<tile_rows(2)>(OuterTile<T, 2>{p}, p.m);
            break;
        default:
            for_row_tiles<tile_rows(3)>(OuterTile<T, 3>{p}, p.m);
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
