// The loss of one row of predictions (a sample, or one time step of one) and its gradient. Rows are
// short or dominated by exp, so the sums are plain loops except for the softmax of a vocabulary.
//
// `weight` multiplies the gradient only: the caller weighs the losses themselves.
#pragma once

#include "kernels/softmax.h"
#include "kernels/table.h"

namespace fastrnn {
namespace {

// Probabilities are kept this far from 0 and 1, as in Keras; beyond, the gradient is 0.
constexpr double smallest_probability = 1e-7;

template <class T>
T logarithm(T x) {
    return static_cast<T>(__builtin_log(static_cast<double>(x)));
}

// -log softmax(logits)[label]; dlogits = weight * (softmax - one_hot), and may be logits itself.
template <class T>
T softmax_cross_entropy_row(const T* logits, index classes, index label, T weight, T* dlogits) {
    const T top = largest_of(logits, classes);
    const T chosen = logits[label];
    const T sum = sum_of_exp(logits, classes, top, dlogits);
    if (dlogits) {
        const T scale = weight / sum;
        for (index j = 0; j < classes; ++j) dlogits[j] *= scale;
        dlogits[label] -= weight;
    }
    return logarithm(sum) - (chosen - top);
}

// q = p / sum(p) as far as it keeps from 0 and 1; `free` says whether it moves with p.
template <class T>
T clipped_probability(T q, bool& free) {
    const T low = static_cast<T>(smallest_probability), high = T(1) - low;
    free = q >= low && q <= high;
    return q < low ? low : q > high ? high : q;
}

// -log(p[label] / sum(p)).
template <class T>
T cross_entropy_row(const T* p, index classes, index label, T weight, T* dp) {
    double sum = 0;
    for (index j = 0; j < classes; ++j) sum += static_cast<double>(p[j]);
    bool free = true;
    const T q = clipped_probability(static_cast<T>(p[label] / sum), free);
    if (dp) {
        const T scale = static_cast<T>(weight / sum);
        for (index j = 0; j < classes; ++j) dp[j] = free ? scale : T(0);
        if (free) dp[label] -= scale / q;
    }
    return -logarithm(q);
}

// ---- rows of targets as wide as the predictions ------------------------------------------------

// Targets moved towards the middle by `smoothing` (label smoothing, Szegedy et al. 2016).
template <class T>
T smoothed(T target, T smoothing, T middle) {
    return target * (T(1) - smoothing) + smoothing * middle;
}

// The mean of -t log(p) - (1 - t) log(1 - p), p = sigmoid(x).
template <class T>
T binary_logits_row(const T* x, const T* target, index n, T weight, T smoothing, T* dx) {
    double total = 0;
    const double share = static_cast<double>(weight) / static_cast<double>(n);
    for (index j = 0; j < n; ++j) {
        const double t = smoothed(target[j], smoothing, T(0.5)), logit = x[j];
        const double decay = __builtin_exp(-__builtin_fabs(logit));
        total += (logit > 0 ? logit : 0.0 * logit) - logit * t + __builtin_log1p(decay);
        if (dx) {
            const double sigmoid = (logit >= 0 ? 1.0 : decay) / (1.0 + decay);
            dx[j] = static_cast<T>(share * (sigmoid - t));
        }
    }
    return static_cast<T>(total / static_cast<double>(n));
}

template <class T>
T binary_row(const T* p, const T* target, index n, T weight, T smoothing, T* dp) {
    double total = 0;
    const double share = static_cast<double>(weight) / static_cast<double>(n);
    for (index j = 0; j < n; ++j) {
        bool free = true;
        const double t = smoothed(target[j], smoothing, T(0.5));
        const double q = clipped_probability(p[j], free);
        total -= t * __builtin_log(q) + (1 - t) * __builtin_log1p(-q);
        if (dp) dp[j] = free ? static_cast<T>(share * (q - t) / (q * (1 - q))) : T(0);
    }
    return static_cast<T>(total / static_cast<double>(n));
}

// The sum of -t log(softmax(x)).
template <class T>
T categorical_logits_row(const T* x, const T* target, index n, T weight, T smoothing, T* dx) {
    const T middle = T(1) / static_cast<T>(n), top = largest_of(x, n);
    double sum_of_targets = 0, product = 0;
    for (index j = 0; j < n; ++j) {
        const double t = smoothed(target[j], smoothing, middle);
        sum_of_targets += t;
        product += t * static_cast<double>(x[j] - top);
    }
    const T sum = sum_of_exp(x, n, top, dx);
    if (dx) {
        const T scale = static_cast<T>(weight * sum_of_targets) / sum;
        for (index j = 0; j < n; ++j)
            dx[j] = dx[j] * scale - weight * smoothed(target[j], smoothing, middle);
    }
    return static_cast<T>(sum_of_targets * __builtin_log(static_cast<double>(sum)) - product);
}

// The sum of -t log(p / sum(p)).
template <class T>
T categorical_row(const T* p, const T* target, index n, T weight, T smoothing, T* dp) {
    const T middle = T(1) / static_cast<T>(n);
    double sum = 0, total = 0, moving = 0;
    for (index j = 0; j < n; ++j) sum += static_cast<double>(p[j]);
    for (index j = 0; j < n; ++j) {
        bool free = true;
        const T t = smoothed(target[j], smoothing, middle);
        const T q = clipped_probability(static_cast<T>(p[j] / sum), free);
        total -= t * __builtin_log(static_cast<double>(q));
        if (free) moving += static_cast<double>(t);
        if (dp) dp[j] = free ? -t / q : T(0);
    }
    if (dp) {
        const T scale = static_cast<T>(weight / sum);
        for (index j = 0; j < n; ++j) dp[j] = (dp[j] + static_cast<T>(moving)) * scale;
    }
    return static_cast<T>(total);
}

// The mean of loss(y - t); loss returns the value and writes the derivative.
template <class T, class Loss>
T mean_of_errors(const T* y, const T* target, index n, T weight, T* dy, const Loss& loss) {
    double total = 0;
    const T share = weight / static_cast<T>(n);
    for (index j = 0; j < n; ++j) {
        T derivative;
        total += static_cast<double>(loss(y[j] - target[j], derivative));
        if (dy) dy[j] = share * derivative;
    }
    return static_cast<T>(total / static_cast<double>(n));
}

template <class T>
T mean_squared_row(const T* y, const T* target, index n, T weight, T, T* dy) {
    return mean_of_errors(y, target, n, weight, dy, [](T error, T& derivative) {
        derivative = T(2) * error;
        return error * error;
    });
}

template <class T>
T mean_absolute_row(const T* y, const T* target, index n, T weight, T, T* dy) {
    return mean_of_errors(y, target, n, weight, dy, [](T error, T& derivative) {
        derivative = error > T(0) ? T(1) : error < T(0) ? T(-1) : error;
        return error < T(0) ? -error : error;
    });
}

// Huber 1964: half of the square up to delta, a line of slope delta beyond.
template <class T>
T huber_row(const T* y, const T* target, index n, T weight, T delta, T* dy) {
    return mean_of_errors(y, target, n, weight, dy, [delta](T error, T& derivative) {
        const T size = error < T(0) ? -error : error;
        if (size <= delta) {
            derivative = error;
            return T(0.5) * error * error;
        }
        derivative = error > T(0) ? delta : error < T(0) ? -delta : error;
        return delta * (size - T(0.5) * delta);
    });
}

}  // namespace
}  // namespace fastrnn
