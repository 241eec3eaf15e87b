// From sequences to one row each, over the steps that exist. A sequence without any gives zeros.
#pragma once

#include "ops/steps.h"

namespace fastrnn {

enum class Pooling { mean, max, last };

// x [rows, steps, width] to out [rows, width]. place [rows, width] (max alone) gets the step that
// each maximum came from, the first among equals, -1 for none.
template <class T>
void pool(Pooling pooling, const Mask& mask, const T* x, index width, T* out, std::int32_t* place);

template <class T>
void pool_backward(Pooling pooling, const Mask& mask, const T* dout, const std::int32_t* place,
                   index width, T* dx);

// How the two halves [n, 2 width] of a bidirectional output become one [n, width].
enum class Merge { sum, mean, product };

template <class T>
void merge_halves(Merge merge, const T* x, index n, index width, T* out);

template <class T>
void merge_halves_backward(Merge merge, const T* x, const T* dout, index n, index width, T* dx);

}  // namespace fastrnn
