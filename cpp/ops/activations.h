// Activations of contiguous arrays, and layer normalisation. Outputs may be the inputs.
#pragma once

#include "base/types.h"

namespace fastrnn {

// Whether the backward pass wants the input kept, rather than the output.
bool keeps_input(Activation activation);

template <class T>
void activation_forward(Activation activation, const T* x, T* y, index n);
// dx = dy f'(x); kept: x or y, as keeps_input() says.
template <class T>
void activation_backward(Activation activation, const T* kept, const T* dy, T* dx, index n);

// Over each row of [rows, n].
template <class T>
void softmax_forward(const T* x, index rows, index n, T* y);
template <class T>
void softmax_backward(const T* y, const T* dy, index rows, index n, T* dx);

// Each row of x [rows, n] with mean 0 and variance 1, then times gamma and plus beta.
template <class T>
struct LayerNorm {
    index rows, n;
    const T* x;
    const T* gamma;  // [n] or null
    const T* beta;   // [n] or null
    T *mean, *rstd;  // [rows], written by the forward pass
};
template <class T>
void layer_norm_forward(const LayerNorm<T>& norm, double eps, T* y);
// dx, dgamma and dbeta may be null.
template <class T>
void layer_norm_backward(const LayerNorm<T>& norm, const T* dy, T* dx, T* dgamma, T* dbeta);

}  // namespace fastrnn
