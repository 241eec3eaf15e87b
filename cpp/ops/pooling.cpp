#include "ops/pooling.h"

#include <algorithm>

#include "base/memory.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

// Sums over time are made over blocks of steps that exist, and the blocks added in order.
constexpr index steps_in_a_block = 256;

template <class Body>
void for_rows(index rows, index elements, const Body& body) {
    for_ranges(rows, static_cast<double>(rows * elements), [&](index begin, index end) {
        for (index row = begin; row < end; ++row) body(row);
    });
}

template <class T>
void add(const T* x, index width, T* sum) {
    for (index j = 0; j < width; ++j) sum[j] += x[j];
}

template <class T>
void mean_of_row(const Mask& mask, index row, const T* x, index width, T* block, T* out) {
    std::fill_n(out, width, T(0));
    std::fill_n(block, width, T(0));
    index count = 0;
    for (index t = 0; t < mask.steps; ++t) {
        if (!mask.at(row, t)) continue;
        add(x + t * width, width, block);
        if (++count % steps_in_a_block == 0) {
            add(block, width, out);
            std::fill_n(block, width, T(0));
        }
    }
    add(block, width, out);
    for (index j = 0; count > 1 && j < width; ++j) out[j] /= static_cast<T>(count);
}

template <class T>
void max_of_row(const Mask& mask, index row, const T* x, index width, T* out, std::int32_t* place) {
    index t = 0;
    while (t < mask.steps && !mask.at(row, t)) ++t;
    if (t == mask.steps) {
        std::fill_n(out, width, T(0));
        std::fill_n(place, width, -1);
        return;
    }
    std::copy_n(x + t * width, width, out);
    std::fill_n(place, width, static_cast<std::int32_t>(t));
    for (++t; t < mask.steps; ++t) {
        if (!mask.at(row, t)) continue;
        const T* const step = x + t * width;
        for (index j = 0; j < width; ++j) {
            // A NaN stays: nothing compares greater.
            const bool greater = (step[j] > out[j]) | (step[j] != step[j]);
            out[j] = greater ? step[j] : out[j];
            place[j] = greater ? static_cast<std::int32_t>(t) : place[j];
        }
    }
}

index last_step(const Mask& mask, index row) {
    index t = mask.steps - 1;
    while (t >= 0 && !mask.at(row, t)) --t;
    return t;
}

}  // namespace

template <class T>
void pool(Pooling pooling, const Mask& mask, const T* x, index width, T* out, std::int32_t* place) {
    const auto row_of = [&](index row) { return x + row * mask.steps * width; };
    switch (pooling) {
        case Pooling::mean:
            return for_ranges(mask.rows, static_cast<double>(mask.rows * mask.steps * width),
                              [&](index begin, index end) {
                                  const Buffer<T> block(width);
                                  for (index row = begin; row < end; ++row) {
                                      mean_of_row(mask, row, row_of(row), width, block.data(),
                                                  out + row * width);
                                  }
                              });
        case Pooling::max:
            return for_rows(mask.rows, mask.steps * width, [&](index row) {
                max_of_row(mask, row, row_of(row), width, out + row * width, place + row * width);
            });
        case Pooling::last:
            return for_rows(mask.rows, width, [&](index row) {
                const index t = last_step(mask, row);
                if (t < 0) {
                    std::fill_n(out + row * width, width, T(0));
                } else {
                    std::copy_n(row_of(row) + t * width, width, out + row * width);
                }
            });
    }
}

template <class T>
void pool_backward(Pooling pooling, const Mask& mask, const T* dout, const std::int32_t* place,
                   index width, T* dx) {
    for_rows(mask.rows, mask.steps * width, [&](index row) {
        T* const to = dx + row * mask.steps * width;
        const T* const from = dout + row * width;
        std::fill_n(to, mask.steps * width, T(0));
        if (pooling == Pooling::max) {
            for (index j = 0; j < width; ++j) {
                const std::int32_t t = place[row * width + j];
                if (t >= 0) to[t * width + j] = from[j];
            }
        } else if (pooling == Pooling::last) {
            const index t = last_step(mask, row);
            if (t >= 0) std::copy_n(from, width, to + t * width);
        } else {
            index count = 0, first = 0;
            for (index t = mask.steps - 1; t >= 0; --t) {
                if (mask.at(row, t)) ++count, first = t;
            }
            T* const share = to + first * width;
            for (index j = 0; count > 0 && j < width; ++j)
                share[j] = from[j] / static_cast<T>(count);
            for (index t = first + 1; t < mask.steps; ++t) {
                if (mask.at(row, t)) std::copy_n(share, width, to + t * width);
            }
        }
    });
}

template <class T>
void merge_halves(Merge merge, const T* x, index n, index width, T* out) {
    for_rows(n, 2 * width, [&](index i) {
        const T *const a = x + 2 * i * width, *const b = a + width;
        T* const y = out + i * width;
        switch (merge) {
            case Merge::sum:
                for (index j = 0; j < width; ++j) y[j] = a[j] + b[j];
                break;
            case Merge::mean:
                for (index j = 0; j < width; ++j) y[j] = (a[j] + b[j]) * T(0.5);
                break;
            case Merge::product:
                for (index j = 0; j < width; ++j) y[j] = a[j] * b[j];
                break;
        }
    });
}

template <class T>
void merge_halves_backward(Merge merge, const T* x, const T* dout, index n, index width, T* dx) {
    for_rows(n, 2 * width, [&](index i) {
        const T *const a = x + 2 * i * width, *const b = a + width, *const dy = dout + i * width;
        T *const da = dx + 2 * i * width, *const db = da + width;
        const T share = merge == Merge::mean ? T(0.5) : T(1);
        for (index j = 0; j < width; ++j) {
            const bool product = merge == Merge::product;
            da[j] = dy[j] * (product ? b[j] : share);
            db[j] = dy[j] * (product ? a[j] : share);
        }
    });
}

#define FASTRNN_INSTANTIATE(T)                                                                   \
    template void pool(Pooling, const Mask&, const T*, index, T*, std::int32_t*);                \
    template void pool_backward(Pooling, const Mask&, const T*, const std::int32_t*, index, T*); \
    template void merge_halves(Merge, const T*, index, index, T*);                               \
    template void merge_halves_backward(Merge, const T*, const T*, index, index, T*);
FASTRNN_INSTANTIATE(float)
FASTRNN_INSTANTIATE(double)
#undef FASTRNN_INSTANTIATE

}  // namespace fastrnn
