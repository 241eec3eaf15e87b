// One optimiser step over n elements of a parameter, as Keras 3 defines it. Bound by memory: plain
// loops, which the compiler turns into registers of this ISA. It does so where nothing that is
// written can be what is read: the step's numbers are taken by value, the arrays are __restrict.
//
// Weight decay is decoupled (Loshchilov and Hutter 2019): p -= lr * weight_decay * p comes first,
// as the step's `keep` = 1 - lr * weight_decay.
#pragma once

#include "kernels/table.h"
#include "simd/vec.h"

namespace fastrnn {
namespace {

// In double, whose range no float32 gradient's square leaves.
template <class T>
double sum_of_squares(const T* x, index n) {
    constexpr int chains = 8;
    double sums[chains] = {};
    index i = 0;
    for (; i + chains <= n; i += chains) {
        FASTRNN_UNROLL
        for (int j = 0; j < chains; ++j)
            sums[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
    }
    for (; i < n; ++i) sums[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
}

template <class T>
FASTRNN_INLINE T square_root(T x) {
    return sizeof(T) == 4 ? static_cast<T>(__builtin_sqrtf(static_cast<float>(x)))
                          : static_cast<T>(__builtin_sqrt(static_cast<double>(x)));
}

// The gradient after clipping; a NaN stays one.
template <class T>
FASTRNN_INLINE T clipped(T g, GradientClip<T> clip) {
    g *= clip.scale;
    g = g > clip.limit ? clip.limit : g;
    return g < -clip.limit ? -clip.limit : g;
}

template <class T>
void sgd(const SgdStep<T> s, const GradientClip<T> clip, const ParameterSlice<T>& slice, index n) {
    T* __restrict p = slice.value;
    const T* __restrict g = slice.gradient;
    T* __restrict velocity = slice.slot[0];
    if (!velocity) {
        for (index i = 0; i < n; ++i) p[i] = p[i] * s.keep - s.lr * clipped(g[i], clip);
        return;
    }
    for (index i = 0; i < n; ++i) {
        const T step = s.lr * clipped(g[i], clip);
        const T v = velocity[i] = s.momentum * velocity[i] - step;
        p[i] = p[i] * s.keep + (s.nesterov ? s.momentum * v - step : v);
    }
}

// Kingma and Ba 2014, the form before section 2.1: epsilon is added to the root of the uncorrected
// second moment. AMSGrad (Reddi et al. 2018) divides by the largest one so far.
template <bool amsgrad, class T>
void adam_loop(const AdamStep<T> s, const GradientClip<T> clip, const ParameterSlice<T>& slice,
               index n) {
    T* __restrict p = slice.value;
    const T* __restrict g = slice.gradient;
    T* __restrict first = slice.slot[0];
    T* __restrict second = slice.slot[1];
    T* __restrict largest = slice.slot[2];
    for (index i = 0; i < n; ++i) {
        const T gradient = clipped(g[i], clip);
        const T m = first[i] = first[i] + (gradient - first[i]) * s.one_minus_beta1;
        T v = second[i] = second[i] + (gradient * gradient - second[i]) * s.one_minus_beta2;
        if constexpr (amsgrad) v = largest[i] = v > largest[i] ? v : largest[i];
        p[i] = p[i] * s.keep - m * s.alpha / (square_root(v) + s.eps);
    }
}

template <class T>
void adam(const AdamStep<T> s, const GradientClip<T> clip, const ParameterSlice<T>& slice,
          index n) {
    if (slice.slot[2]) return adam_loop<true>(s, clip, slice, n);
    adam_loop<false>(s, clip, slice, n);
}

// Hinton's lecture 6e (2012); centered as in Graves 2013, section 4.2.
template <bool centered, bool momentum, class T>
void rmsprop_loop(const RmspropStep<T> s, const GradientClip<T> clip,
                  const ParameterSlice<T>& slice, index n) {
    T* __restrict p = slice.value;
    const T* __restrict g = slice.gradient;
    T* __restrict square = slice.slot[0];
    T* __restrict mean = slice.slot[1];
    T* __restrict velocity = slice.slot[2];
    for (index i = 0; i < n; ++i) {
        const T gradient = clipped(g[i], clip);
        T variance = square[i] = s.rho * square[i] + s.one_minus_rho * (gradient * gradient);
        if constexpr (centered) {
            const T m = mean[i] = s.rho * mean[i] + s.one_minus_rho * gradient;
            variance -= m * m;
        }
        T step = s.lr * gradient / square_root(variance + s.eps);
        if constexpr (momentum) step = velocity[i] = s.momentum * velocity[i] + step;
        p[i] = p[i] * s.keep - step;
    }
}

template <class T>
void rmsprop(const RmspropStep<T> s, const GradientClip<T> clip, const ParameterSlice<T>& slice,
             index n) {
    const bool centered = slice.slot[1], momentum = slice.slot[2];
    if (centered && momentum) return rmsprop_loop<true, true>(s, clip, slice, n);
    if (centered) return rmsprop_loop<true, false>(s, clip, slice, n);
    if (momentum) return rmsprop_loop<false, true>(s, clip, slice, n);
    rmsprop_loop<false, false>(s, clip, slice, n);
}

}  // namespace
}  // namespace fastrnn
