// What softmax and the losses of logits share: a row's maximum and the sum of its exponentials.
//
// A NaN in the row makes the sum one, and all that is divided by it; the maximum may miss it.
#pragma once

#include "simd/math.h"

namespace fastrnn {
namespace {

template <class T>
T largest_of(const T* x, index n) {
    constexpr int L = lanes<T>;
    T top = x[0];
    index j = 0;
    if (n >= L) {
        Vec<T> best = load(x);
        for (j = L; j + L <= n; j += L) best = at_least(load(x + j), best);
        top = max_of_lanes<T>(best);
    }
    for (; j < n; ++j) top = x[j] > top ? x[j] : top;
    return top;
}

// The sum over j of exp(x[j] - top); writes the terms to `terms`, which may be null or x itself.
template <class T>
T sum_of_exp(const T* x, index n, T top, T* terms) {
    constexpr int L = lanes<T>;
    Vec<T> total = zero<T>();
    index j = 0;
    for (; j + L <= n; j += L) {
        const Vec<T> e = exp<T>(load(x + j) - broadcast(top));
        total += e;
        if (terms) store(terms + j, e);
    }
    T rest = T(0);
    if (j < n) {
        const Vec<T> e = exp<T>(load_first(x + j, n - j) - broadcast(top));
        for (index i = 0; i < n - j; ++i) rest += e[i];
        if (terms) store_first(terms + j, e, n - j);
    }
    return sum_of_lanes<T>(total) + rest;
}

}  // namespace
}  // namespace fastrnn
