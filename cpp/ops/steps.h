// Sequences whose steps do not all exist: what a mask says, and the way from [B, T] with gaps to
// sequences that begin at step 0 without gaps, and back.
#pragma once

#include "base/types.h"

namespace fastrnn {

// Any strides, which count bytes.
struct Mask {
    const std::uint8_t* data;  // [rows, steps], not 0 where a step exists
    index rows, steps;
    index row_stride, step_stride;
    bool at(index row, index step) const {
        return data[row * row_stride + step * step_stride] != 0;
    }
};

enum class MaskKind { gaps = 0, prefix = 1, full = 2 };

// lengths[row] = how many steps exist. `prefix`: they are the first ones; `full`: all of them.
MaskKind count_steps(const Mask& mask, std::int64_t* lengths);

// lengths [sizes[0]] of sequences of which sizes[t] have step t, the longest first. False if sizes
// rise, are below 1 or do not add up to `tokens`.
bool packed_lengths(const std::int64_t* sizes, index steps, index tokens, std::int64_t* lengths);

// [rows, steps] elements of `bytes` each, which lie together.
struct StepArray {
    const char* data;
    index row_stride, step_stride, bytes;  // of bytes
};

// out [rows, out_steps]: the steps that exist, in order; those beyond `out_steps` left out, zeros
// past their end. out is contiguous.
void gather_steps(const Mask& mask, const StepArray& x, index out_steps, char* out);

// out [rows, steps]: x's steps at the places that exist; elsewhere zeros, or with `repeat` the step
// before (zeros before the first). out is contiguous.
void scatter_steps(const Mask& mask, const StepArray& x, bool repeat, char* out);

// Undoes scatter_steps with `repeat`: each of x's steps gets the sum, in the order of time, over
// the places that it went to.
template <class T>
void scatter_steps_backward(const Mask& mask, const T* dout, index width, index x_steps, T* dx);

// mask[n] = whether any of x's [n, width] differs from `value`.
template <class T>
void differs(const T* x, index n, index width, T value, std::uint8_t* mask);

}  // namespace fastrnn
