#include "ops/steps.h"

#include <algorithm>
#include <cstring>

#include "parallel/team.h"

namespace fastrnn {
namespace {

// body(row) for all rows; copying a byte is worth about a quarter of a multiplication.
template <class Body>
void for_rows(index rows, index bytes, const Body& body) {
    for_ranges(rows, static_cast<double>(rows * bytes) / 4, [&](index begin, index end) {
        for (index row = begin; row < end; ++row) body(row);
    });
}

// body(first, count) for every run of steps that exist in a row.
template <class Body>
void for_runs(const Mask& mask, index row, const Body& body) {
    for (index t = 0; t < mask.steps;) {
        const index first = t;
        if (mask.at(row, t)) {
            while (t < mask.steps && mask.at(row, t)) ++t;
            body(first, t - first);
        } else {
            ++t;
        }
    }
}

// `count` steps of x from `from` on, to contiguous ones at `to`.
void copy_steps(const StepArray& x, const char* from, index count, char* to) {
    if (x.step_stride == x.bytes) {
        std::memcpy(to, from, static_cast<std::size_t>(count * x.bytes));
        return;
    }
    for (index i = 0; i < count; ++i) {
        std::memcpy(to + i * x.bytes, from + i * x.step_stride, static_cast<std::size_t>(x.bytes));
    }
}

void clear(char* to, index bytes) {
    if (bytes > 0) std::memset(to, 0, static_cast<std::size_t>(bytes));
}

}  // namespace

MaskKind count_steps(const Mask& mask, std::int64_t* lengths) {
    bool prefix = true, full = true;
    for (index row = 0; row < mask.rows; ++row) {
        index count = 0;
        bool gap = false;
        for (index t = 0; t < mask.steps; ++t) {
            const bool exists = mask.at(row, t);
            prefix = prefix && !(exists && gap);
            gap = gap || !exists;
            count += exists ? 1 : 0;
        }
        full = full && !gap;
        lengths[row] = count;
    }
    return full ? MaskKind::full : prefix ? MaskKind::prefix : MaskKind::gaps;
}

bool packed_lengths(const std::int64_t* sizes, index steps, index tokens, std::int64_t* lengths) {
    index left = tokens;
    for (index t = 0; t < steps; ++t) {
        if (sizes[t] < 1 || sizes[t] > left || (t > 0 && sizes[t] > sizes[t - 1])) return false;
        left -= sizes[t];
    }
    if (left != 0) return false;
    index row = 0;
    for (index t = steps; t > 0; --t)
        while (row < sizes[t - 1]) lengths[row++] = t;
    return true;
}

void gather_steps(const Mask& mask, const StepArray& x, index out_steps, char* out) {
    for_rows(mask.rows, out_steps * x.bytes, [&](index row) {
        char* const to = out + row * out_steps * x.bytes;
        index done = 0;
        for_runs(mask, row, [&](index first, index count) {
            count = smaller(count, out_steps - done);
            copy_steps(x, x.data + row * x.row_stride + first * x.step_stride, count,
                       to + done * x.bytes);
            done += count;
        });
        clear(to + done * x.bytes, (out_steps - done) * x.bytes);
    });
}

void scatter_steps(const Mask& mask, const StepArray& x, bool repeat, char* out) {
    for_rows(mask.rows, mask.steps * x.bytes, [&](index row) {
        char* const to = out + row * mask.steps * x.bytes;
        index done = 0, end = 0;
        const auto fill = [&](index until) {
            if (!repeat || end == 0) return clear(to + end * x.bytes, (until - end) * x.bytes);
            for (; end < until; ++end) {
                std::memcpy(to + end * x.bytes, to + (end - 1) * x.bytes,
                            static_cast<std::size_t>(x.bytes));
            }
        };
        for_runs(mask, row, [&](index first, index count) {
            fill(first);
            copy_steps(x, x.data + row * x.row_stride + done * x.step_stride, count,
                       to + first * x.bytes);
            done += count;
            end = first + count;
        });
        fill(mask.steps);
    });
}

template <class T>
void scatter_steps_backward(const Mask& mask, const T* dout, index width, index x_steps, T* dx) {
    for_rows(mask.rows, mask.steps * width * static_cast<index>(sizeof(T)), [&](index row) {
        const T* from = dout + row * mask.steps * width;
        T* const to = dx + row * x_steps * width;
        std::fill_n(to, x_steps * width, T(0));
        index step = -1;
        for (index t = 0; t < mask.steps; ++t, from += width) {
            step += mask.at(row, t) ? 1 : 0;
            for (index j = 0; step >= 0 && j < width; ++j) to[step * width + j] += from[j];
        }
    });
}

template <class T>
void differs(const T* x, index n, index width, T value, std::uint8_t* mask) {
    for_rows(n, width * static_cast<index>(sizeof(T)), [&](index i) {
        const T* const row = x + i * width;
        mask[i] = std::any_of(row, row + width, [&](T element) { return element != value; });
    });
}

template void scatter_steps_backward(const Mask&, const float*, index, index, float*);
template void scatter_steps_backward(const Mask&, const double*, index, index, double*);
template void differs(const float*, index, index, float, std::uint8_t*);
template void differs(const double*, index, index, double, std::uint8_t*);

}  // namespace fastrnn
