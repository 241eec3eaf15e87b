// Layer normalisation (Ba et al. 2016) of one row:
//
//   mean = sum(x) / n, rstd = 1 / sqrt(sum((x - mean)^2) / n + eps), y = (x - mean) rstd gamma +
//   beta
#pragma once

#include "kernels/table.h"
#include "simd/vec.h"

namespace fastrnn {
namespace {

// The sum over j < n of value(j, m): a register of m valid elements from j on, the rest 0.
template <class T, class Value>
FASTRNN_INLINE T sum_over(index n, const Value& value) {
    constexpr int L = lanes<T>;
    Vec<T> total = zero<T>();
    index j = 0;
    for (; j + L <= n; j += L) total += value(j, L);
    T sum = sum_of_lanes<T>(total);
    if (j < n) {
        const Vec<T> last = value(j, n - j);
        for (index i = 0; i < n - j; ++i) sum += last[i];
    }
    return sum;
}

template <class T>
void layer_norm_row(const LayerNormRow<T>& r, T eps, T* y) {
    const T count = static_cast<T>(r.n);
    const T mean =
        sum_over<T>(r.n, [&](index j, index m) { return load_first(r.x + j, m); }) / count;
    const T variance = sum_over<T>(r.n,
                                   [&](index j, index m) {
                                       const Vec<T> d = load_first(r.x + j, m) - broadcast(mean);
                                       return d * d;
                                   }) /
                       count;
    const T rstd = static_cast<T>(1 / __builtin_sqrt(static_cast<double>(variance + eps)));
    *r.mean = mean, *r.rstd = rstd;
    for (index j = 0; j < r.n; j += lanes<T>) {
        const index m = smaller(lanes<T>, r.n - j);
        Vec<T> v = (load_first(r.x + j, m) - broadcast(mean)) * broadcast(rstd);
        if (r.gamma) v = v * load_first(r.gamma + j, m);
        if (r.beta) v = v + load_first(r.beta + j, m);
        store_first(y + j, v, m);
    }
}

// With x^ = (x - mean) rstd and g = dy gamma: dx = rstd (g - sum(g) / n - x^ sum(g x^) / n), and
// dgamma += dy x^, dbeta += dy.
template <class T>
void layer_norm_row_backward(const LayerNormRow<T>& r, const T* dy, T* dx, T* dgamma, T* dbeta) {
    const Vec<T> mean = broadcast(*r.mean), rstd = broadcast(*r.rstd);
    const auto normal = [&](index j, index m) { return (load_first(r.x + j, m) - mean) * rstd; };
    const auto gradient = [&](index j, index m) {
        const Vec<T> g = load_first(dy + j, m);
        return r.gamma ? g * load_first(r.gamma + j, m) : g;
    };
    for (index j = 0; dgamma && j < r.n; j += lanes<T>) {
        const index m = smaller(lanes<T>, r.n - j);
        const Vec<T> g = load_first(dy + j, m);
        store_first(dgamma + j, fma(g, normal(j, m), load_first(dgamma + j, m)), m);
    }
    for (index j = 0; dbeta && j < r.n; j += lanes<T>) {
        const index m = smaller(lanes<T>, r.n - j);
        store_first(dbeta + j, load_first(dbeta + j, m) + load_first(dy + j, m), m);
    }
    if (dx) {  // last: it may be dy or x
        const T count = static_cast<T>(r.n);
        const Vec<T> level = broadcast(sum_over<T>(r.n, gradient) / count);
        const Vec<T> along = broadcast(
            sum_over<T>(r.n, [&](index j, index m) { return gradient(j, m) * normal(j, m); }) /
            count);
        for (index j = 0; j < r.n; j += lanes<T>) {
            const index m = smaller(lanes<T>, r.n - j);
            store_first(dx + j, (gradient(j, m) - level - normal(j, m) * along) * rstd, m);
        }
    }
}

}  // namespace
}  // namespace fastrnn
