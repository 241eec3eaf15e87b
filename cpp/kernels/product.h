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

// Calls body(Width<n>()): the number of registers in a panel, 1 to 4, which a tile has to know when
// it is compiled.
template <int n>
struct Width {
    static constexpr int value = n;
};
template <int least = 1, class Body>
FASTRNN_INLINE void with_width(index n, const Body& body) {
    if constexpr (least < 4) {
        if (n > least) return with_width<least + 1>(n, body);
    }
    body(Width<least>());
}

template <class T, int MR, int NV>
using Tile = Vec<T>[MR][NV];

// Elements of T in a cache line.
template <class T>
constexpr index line = 64 / sizeof(T);

// Fetches rows that other cores may just have written, all at once instead of miss by miss.
template <class T>
FASTRNN_INLINE void fetch_rows(const T* a, const index* offset, const index* row, index rows,
                               index n) {
    for (index i = 0; i < rows; ++i) {
        const T* from = a + offset[row ? row[i] : i];
        for (index j = 0; j < n; j += line<T>) __builtin_prefetch(from + j, 0, 2);
    }
}

// acc[i][j] += x(i) b[j]. Whichever side is the shorter waits in registers; the other passes
// through one, so that 3 x 4 accumulators fit the 16 registers of AVX2.
template <class T, int MR, int NV, class X>
FASTRNN_INLINE void multiply_add(Tile<T, MR, NV>& acc, const X& x, const T* b) {
    if constexpr (MR < NV) {
        Vec<T> row[MR];
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) row[i] = broadcast(*x(i));
        FASTRNN_UNROLL
        for (int j = 0; j < NV; ++j) {
            const Vec<T> column = load(b + j * lanes<T>);
            FASTRNN_UNROLL
            for (int i = 0; i < MR; ++i) acc[i][j] = fma(row[i], column, acc[i][j]);
        }
    } else {
        Vec<T> column[NV];
        FASTRNN_UNROLL
        for (int j = 0; j < NV; ++j) column[j] = load(b + j * lanes<T>);
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            const Vec<T> row = broadcast(*x(i));
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j) acc[i][j] = fma(row, column[j], acc[i][j]);
        }
    }
}

// A single row has one chain of additions for each register of a panel, too few to keep the
// pipelines full, so it takes several panels at once. Of registers of 64 bytes the second-level
// cache brings no more than 4 in the time of an addition.
template <class T>
constexpr int row_panels(int nv) {
    const int chains = sizeof(Vec<T>) == 64 ? 6 : 8;
    return static_cast<int>(larger(1, chains / nv));
}

template <class T, int Panels, int NV, bool fetch>
FASTRNN_INLINE void accumulate_row_terms(Vec<T> (&acc)[Panels * NV], const T* a, const T* b,
                                         index panel_stride, index k) {
    constexpr index ahead = 2048 / sizeof(T);  // bytes: 1 to 4 KiB are alike
    FASTRNN_UNROLL_4
    for (index p = 0; p < k; ++p, b += NV * lanes<T>) {
        const Vec<T> x = broadcast(a[p]);
        FASTRNN_UNROLL
        for (int q = 0; q < Panels; ++q) {
            const T* panel = b + q * panel_stride;
            for (index j = 0; fetch && j < NV * lanes<T>; j += line<T>)
                __builtin_prefetch(panel + j + ahead, 0, 3);
            FASTRNN_UNROLL
            for (int j = 0; j < NV; ++j)
                acc[q * NV + j] = fma(x, load(panel + j * lanes<T>), acc[q * NV + j]);
        }
    }
}

// acc[q * NV + j] += a[0 .. k) b_q[0 .. k)[j] for the panels b_q, panel_stride apart. A single row
// uses each weight once, so it is as fast as they come: on some processors faster where they are
// fetched into the first-level cache ahead.
template <class T, int Panels, int NV>
FASTRNN_INLINE void accumulate_row(Vec<T> (&acc)[Panels * NV], const T* a, const T* b,
                                   index panel_stride, index k) {
    if (row_fetches_ahead) {
        accumulate_row_terms<T, Panels, NV, true>(acc, a, b, panel_stride, k);
    } else {
        accumulate_row_terms<T, Panels, NV, false>(acc, a, b, panel_stride, k);
    }
}

// acc[i][j] += a[i][0 .. k) b[0 .. k)[j], b: [k][NV][L]. Meanwhile, of several rows, k cache lines
// from `ahead` on are fetched into the second-level cache: weights stream from further away, and
// the hardware stops fetching at every page.
template <class T, int MR, int NV>
FASTRNN_INLINE void accumulate(Tile<T, MR, NV>& acc, const T* const (&a)[MR], const T* b, index k,
                               const T* ahead) {
    if constexpr (MR == 1) return accumulate_row<T, 1, NV>(acc[0], a[0], b, 0, k);
    FASTRNN_UNROLL_4  // the loop's own arithmetic shares ports with the fma
        for (index p = 0; p < k; ++p, b += NV * lanes<T>, ahead += line<T>) {
        __builtin_prefetch(ahead, 0, 2);
        multiply_add<T, MR, NV>(acc, [&](int i) { return a[i] + p; }, b);
    }
}

// What tile number t of a panel of k rows fetches ahead: its share of the panel that comes next.
template <class T, int NV>
FASTRNN_INLINE const T* share_ahead(const T* next, index t, index k) {
    constexpr index shares = NV * lanes<T> / line<T> > 0 ? NV * lanes<T> / line<T> : 1;
    return next + smaller(t, shares - 1) * k * line<T>;
}

// Calls Kernel::template tile<MR>(first, t) for tiles t = 0, 1, ... that cover `rows` as evenly as
// possible, MR <= Most.
template <int MR, class Kernel>
FASTRNN_INLINE void one_tile(const Kernel& kernel, index first, index t, index rows) {
    if constexpr (MR > 1) {
        if (rows < MR) return one_tile<MR - 1>(kernel, first, t, rows);
    }
    kernel.template tile<MR>(first, t);
}

template <int Most, class Kernel>
FASTRNN_INLINE void for_row_tiles(const Kernel& kernel, index rows) {
    const index tiles = ceil_div(rows, Most);
    for (index t = 0, first = 0; t < tiles; ++t) {
        const index next = rows * (t + 1) / tiles;
        one_tile<Most>(kernel, first, t, next - first);
        first = next;
    }
}

// Bytes of a panel of b that are used against all rows before the next piece of K: with the piece
// that is fetched meanwhile it stays in the second-level cache (at H = 1024 a whole panel of the
// transposed recurrent weights has 1 MiB: 50 -> 75% of the peak). The sums wait in c in between.
constexpr index piece_bytes = 128 << 10;

// A piece of one panel of b, NV registers wide, against all rows of a; or of several panels against
// one row.
template <class T, int NV, int Panels = 1>
struct PanelProduct {
    static constexpr int vectors = Panels * NV;
    const ProductArgs<T>& p;
    index columns;         // elements of these panels that exist
    index place[vectors];  // of each register in a row of c
    // The piece: `runs` runs of `run` terms, from p.a + skip and from b on.
    index skip, run, runs, run_stride;
    const T* b;
    index panel_stride;
    const T* start;  // null: the sums go on from c

    template <int MR>
    __attribute__((noinline)) void tile(index first, index t) const {
        Tile<T, MR, vectors> acc;
        const T* a[MR];
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            a[i] = p.a + p.a_offset[first + i] + skip;
            FASTRNN_UNROLL
            for (int j = 0; j < vectors; ++j) {
                acc[i][j] = start ? load(start + j * lanes<T>)
                                  : load_first(c_at(first + i, j), columns_of(j));
            }
        }
        const T* panel = b;
        const T* ahead = share_ahead<T, NV>(b + run * runs * NV * lanes<T>, t, run * runs);
        for (index r = 0; r < runs; ++r, ahead += run * line<T>) {
            if (r + 1 < runs) {
                FASTRNN_UNROLL
                for (int i = 0; i < MR; ++i) fetch_row(a[i] + run_stride, run);
            }
            if constexpr (Panels == 1) {
                accumulate<T, MR, NV>(acc, a, panel, run, ahead);
            } else {
                accumulate_row<T, Panels, NV>(acc[0], a[0], panel, panel_stride, run);
            }
            panel += run * NV * lanes<T>;
            FASTRNN_UNROLL
            for (int i = 0; i < MR; ++i) a[i] += run_stride;
        }
        FASTRNN_UNROLL
        for (int i = 0; i < MR; ++i) {
            FASTRNN_UNROLL
            for (int j = 0; j < vectors; ++j)
                store_first(c_at(first + i, j), acc[i][j], columns_of(j));
        }
    }

    // The next run of a row into the first-level cache: the hardware, which sees runs that lie far
    // apart, does not.
    FASTRNN_INLINE static void fetch_row(const T* a, index n) {
        for (index j = 0; j < n; j += line<T>) __builtin_prefetch(a + j, 0, 3);
    }

    FASTRNN_INLINE T* c_at(index row, int j) const { return p.c + p.c_offset[row] + place[j]; }
    FASTRNN_INLINE index columns_of(int j) const {
        return larger(0, smaller(lanes<T>, columns - j * lanes<T>));
    }
};

template <class T, int NV, int Panels = 1>
FASTRNN_INLINE void product_panel_at(const ProductArgs<T>& p, index v) {
    static constexpr T zeros[Panels * NV * lanes<T>] = {};
    PanelProduct<T, NV, Panels> panel{p,      p.columns - v * lanes<T>, {}, 0, 0, 0, 0, nullptr, 0,
                                      nullptr};
    for (int j = 0; j < Panels * NV; ++j) {
        panel.place[j] = (v + j) / p.group * p.group_stride + (v + j) % p.group * lanes<T>;
    }
    const index terms_of_all = p.run * p.runs + p.tail * p.tails;
    panel.b = p.b + v * terms_of_all * lanes<T>;
    panel.panel_stride = NV * terms_of_all * lanes<T>;
    panel.start = p.add ? nullptr : p.start ? p.start + v * lanes<T> : zeros;
    const auto piece = [&](index skip, index run, index runs, index run_stride) {
        panel.skip = skip, panel.run = run, panel.runs = runs, panel.run_stride = run_stride;
        if constexpr (Panels == 1) {
            for_row_tiles<tile_rows(NV)>(panel, p.rows);
        } else {
            panel.template tile<1>(0, 0);
        }
        panel.b += run * runs * NV * lanes<T>;
        panel.start = nullptr;
    };
    // Pieces are whole runs, or parts of the only one.
    const index parts = p.runs > 1 ? p.runs : p.run * p.runs, terms = p.runs > 1 ? p.run : 1;
    const index bytes = parts * terms * NV * lanes<T> * index{sizeof(T)};
    const index pieces = smaller(parts, larger(1, ceil_div(bytes, piece_bytes)));
    for (index n = 0; n < pieces; ++n) {
        const index begin = parts * n / pieces, end = parts * (n + 1) / pieces;
        if (p.runs > 1) {
            piece(begin * p.run_stride, p.run, end - begin, p.run_stride);
        } else {
            piece(begin, end - begin, 1, 0);
        }
    }
    if (p.tails > 0) piece(p.runs * p.run_stride, p.tail, p.tails, p.tail_stride);
}

// One row against several panels of p.panel registers, NV or more, from register v on.
template <class T, int NV>
FASTRNN_INLINE void product_panels_at(const ProductArgs<T>& p, index v) {
    if constexpr (NV < 4) {
        if (p.panel > NV) return product_panels_at<T, NV + 1>(p, v);
    }
    if constexpr (row_panels<T>(NV) > 1) product_panel_at<T, NV, row_panels<T>(NV)>(p, v);
}

template <class T>
void product(const ProductArgs<T>& p) {
    for (index r = 0; p.fetch && r < p.runs + (p.tails > 0); ++r) {
        fetch_rows<T>(p.a + r * p.run_stride, p.a_offset, nullptr, p.rows, p.run);
    }
    // In order: for a single row, several panels at once; panels.
    const index panels = row_panels<T>(static_cast<int>(p.panel)), together = panels * p.panel;
    const index groups = panels > 1 && p.panel > 1 && p.rows == 1 ? p.vectors / together : 0;
    const index count = groups + ceil_div(p.vectors - groups * together, p.panel);
    for (index i = 0; i < count; ++i) {
        const index n = p.back_to_front ? count - 1 - i : i;
        if (n < groups) {
            product_panels_at<T, 2>(p, n * together);
            continue;
        }
        const index v = groups * together + (n - groups) * p.panel;
        with_width(smaller(p.panel, p.vectors - v),
                   [&](auto width) { product_panel_at<T, decltype(width)::value>(p, v); });
    }
}

}  // namespace
}  // namespace fastrnn
