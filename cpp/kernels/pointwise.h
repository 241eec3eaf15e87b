// What a training step does besides products: dropout, losses, optimisers. Plain loops, which the
// compiler turns into registers of this ISA; none of them bounds a training step.
#pragma once

#include "kernels/table.h"
#include "simd/math.h"
#include "simd/philox.h"

namespace fastrnn {
namespace {

template <class T>
void dropout_row(const T* x, T* y, index n, std::uint64_t seed, std::uint32_t stream,
                 std::uint32_t step, std::uint32_t row, std::uint32_t threshold, T scale) {
    std::uint32_t words[philox_words];
    for (index i = 0; i < n; i += philox_words) {
        philox(seed, static_cast<std::uint32_t>(i / 4), row, step, stream, words);
        const index m = smaller(philox_words, n - i);
        for (index j = 0; j < m; ++j) y[i + j] = words[j] >= threshold ? x[i + j] * scale : T(0);
    }
}

template <class T>
T softmax_cross_entropy_row(const T* logits, index classes, index label, T weight, T* dlogits) {
    constexpr int L = lanes<T>;
    if (label < 0) {
        if (dlogits) {
            for (index j = 0; j < classes; ++j) dlogits[j] = T(0);
        }
        return T(0);
    }
    T top = logits[0];
    for (index j = 1; j < classes; ++j) top = logits[j] > top ? logits[j] : top;
    Vec<T> total = zero<T>();
    T rest = T(0);
    index j = 0;
    for (; j + L <= classes; j += L) total += exp<T>(load(logits + j) - broadcast(top));
    for (; j < classes; ++j) rest += exp<T>(broadcast(logits[j] - top))[0];
    const T sum = sum_of_lanes<T>(total) + rest;
    const T loss = static_cast<T>(__builtin_log(static_cast<double>(sum))) - (logits[label] - top);
    if (dlogits) {
        const Vec<T> scale = broadcast(weight / sum);
        for (j = 0; j < classes; j += L) {
            const index m = smaller(L, classes - j);
            store_first(dlogits + j, exp<T>(load_first(logits + j, m) - broadcast(top)) * scale, m);
        }
        dlogits[label] -= weight;
    }
    return loss;
}

template <class T>
void binary_cross_entropy(const T* logits, const T* targets, const T* weights, T* losses,
                          T* dlogits, index n) {
    for (index i = 0; i < n; ++i) {
        const double x = logits[i], t = targets[i];
        const double decay = __builtin_exp(-__builtin_fabs(x));
        losses[i] = static_cast<T>((x > 0 ? x : 0.0 * x) - x * t + __builtin_log1p(decay));
        if (dlogits) {
            const double sigmoid = (x >= 0 ? 1.0 : decay) / (1.0 + decay);
            dlogits[i] = static_cast<T>((weights ? weights[i] : 1.0) * (sigmoid - t));
        }
    }
}

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
void add_to(const T* x, T* y, index n) {
    for (index i = 0; i < n; ++i) y[i] += x[i];
}

// Kingma and Ba 2014; weight decay decoupled as in Loshchilov and Hutter 2019.
template <class T>
void adam(const AdamStep<T>& s, T* __restrict p, const T* __restrict g, T* __restrict first,
          T* __restrict second, index n) {
    for (index i = 0; i < n; ++i) {
        const T gradient = g[i] * s.grad_scale;
        first[i] = s.beta1 * first[i] + (T(1) - s.beta1) * gradient;
        second[i] = s.beta2 * second[i] + (T(1) - s.beta2) * gradient * gradient;
        const T root =
            sizeof(T) == 4
                ? static_cast<T>(__builtin_sqrtf(static_cast<float>(second[i] * s.correction2)))
                : static_cast<T>(__builtin_sqrt(second[i] * s.correction2));
        const T update = first[i] * s.correction1 / (root + s.eps);
        p[i] = p[i] - s.lr * s.weight_decay * p[i] - s.lr * update;
    }
}

template <class T>
void sgd(const SgdStep<T>& s, T* __restrict p, const T* __restrict g, T* __restrict velocity,
         index n) {
    for (index i = 0; i < n; ++i) {
        const T gradient = g[i] * s.grad_scale + s.weight_decay * p[i];
        T step = -s.lr * gradient;
        if (velocity) {
            const T v = velocity[i] = s.momentum * velocity[i] + step;
            step = s.nesterov ? s.momentum * v + step : v;
        }
        p[i] += step;
    }
}

// As many independent chains of fma as fill both pipes.
template <class T>
double fma_loop(index iterations) {
    constexpr int chains = registers == 32 ? 24 : 12;
    Vec<T> acc[chains];
    FASTRNN_UNROLL
    for (int j = 0; j < chains; ++j) acc[j] = broadcast_to<T>(j);
    Vec<T> x = broadcast_to<T>(0.999), y = broadcast_to<T>(1e-3);
    for (index i = 0; i < iterations; ++i) {
        FASTRNN_UNROLL
        for (int j = 0; j < chains; ++j) acc[j] = fma(acc[j], x, y);
    }
    Vec<T> total = zero<T>();
    FASTRNN_UNROLL
    for (int j = 0; j < chains; ++j) total += acc[j];
    volatile T sink = sum_of_lanes<T>(total);
    (void)sink;
    return 2.0 * static_cast<double>(iterations) * chains * lanes<T>;
}

}  // namespace
}  // namespace fastrnn
