// Activations of whole arrays. Each has its equation, and below it the gradient: from the output
// y where that is enough, from the input x where it is not (`from_input`).
#pragma once

#include "kernels/softmax.h"
#include "kernels/table.h"
#include "simd/math.h"

namespace fastrnn {
namespace {

template <class T>
FASTRNN_INLINE Vec<T> magnitude(Vec<T> x) {
    return x < zero<T>() ? -x : x;
}

// y = max(x, 0)
struct ReluArray {
    static constexpr bool from_input = false;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        return at_least(x, zero<T>());
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        return d_relu<T>(y);
    }
};

// y = x where x > 0, else 0.2 x (Maas et al. 2013; Keras 3's slope)
struct LeakyReluArray {
    static constexpr bool from_input = false;
    static constexpr double slope = 0.2;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        return x < zero<T>() ? x * broadcast_to<T>(slope) : x;
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        return y > zero<T>() ? broadcast_to<T>(1) : broadcast_to<T>(slope);
    }
};

// y = x where x > 0, else exp(x) - 1 (Clevert et al. 2016)
struct EluArray {
    static constexpr bool from_input = false;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        const Vec<T> least = broadcast(ExpConstants<T>::exp_least);
        const Group<T, 1> below = at_least(at_most(x, zero<T>()), least);
        return x > zero<T>() ? x : expm1<false>(below).row[0];
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        return y > zero<T>() ? broadcast_to<T>(1) : y + broadcast_to<T>(1);
    }
};

// y = scale * (x where x > 0, else alpha (exp(x) - 1)) (Klambauer et al. 2017)
struct SeluArray {
    static constexpr bool from_input = false;
    static constexpr double alpha = 1.6732632423543772, scale = 1.0507009873554805;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        const Vec<T> y = EluArray::forward<T>(x);
        return y * (x > zero<T>() ? broadcast_to<T>(scale) : broadcast_to<T>(scale * alpha));
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        return y > zero<T>() ? broadcast_to<T>(scale) : y + broadcast_to<T>(scale * alpha);
    }
};

// log(1 + u) for 0 <= u <= 1, as 2 artanh(s), s = u / (2 + u) <= 1/3: a ninth of the error with
// every term.
template <class T>
FASTRNN_INLINE Vec<T> log1p_of_fraction(Vec<T> u) {
    constexpr int terms = sizeof(T) == 4 ? 8 : 17;
    const Vec<T> s = u / (broadcast_to<T>(2) + u), square = s * s;
    Vec<T> sum = broadcast_to<T>(1.0 / (2 * terms - 1));
    FASTRNN_UNROLL
    for (int k = terms - 2; k >= 1; --k) sum = fma(sum, square, broadcast_to<T>(1.0 / (2 * k + 1)));
    return (s + s) * fma(sum, square, broadcast_to<T>(1));
}

// y = log(1 + exp(x)); dy/dx = sigmoid(x) = 1 - exp(-y)
struct SoftplusArray {
    static constexpr bool from_input = false;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        return at_least(x, zero<T>()) + log1p_of_fraction<T>(exp<T>(-magnitude<T>(x)));
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        return -EluArray::forward<T>(-y);
    }
};

// y = x / (1 + |x|); dy/dx = 1 / (1 + |x|)^2 = (1 - |y|)^2
struct SoftsignArray {
    static constexpr bool from_input = false;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        return x / (broadcast_to<T>(1) + magnitude<T>(x));
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        const Vec<T> root = broadcast_to<T>(1) - magnitude<T>(y);
        return root * root;
    }
};

struct ExponentialArray {
    static constexpr bool from_input = false;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        // Where exp saturates, the square of half the way is infinite or zero.
        const Vec<T> half = exp<T>(x * broadcast_to<T>(0.5));
        const Vec<T> most = broadcast(ExpConstants<T>::exp_most);
        return magnitude<T>(x) > most ? half * half : exp<T>(x);
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        return y;
    }
};

// y = x / 6 + 1/2, held in 0 .. 1 (Keras 3's)
struct HardSigmoidArray {
    static constexpr bool from_input = false;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        const Vec<T> line = fma(x, broadcast_to<T>(1.0 / 6), broadcast_to<T>(0.5));
        return at_least(at_most(line, broadcast_to<T>(1)), zero<T>());
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        const Vec<T> inside = y < broadcast_to<T>(1) ? broadcast_to<T>(1.0 / 6) : zero<T>();
        return y > zero<T>() ? inside : zero<T>();
    }
};

struct SigmoidArray {
    static constexpr bool from_input = false;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        return sigmoid<T>(x);
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        return d_sigmoid<T>(y);
    }
};

struct TanhArray {
    static constexpr bool from_input = false;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        return tanh<T>(x);
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> y) {
        return d_tanh<T>(y);
    }
};

// y = x sigmoid(x), which is not monotonic: y does not tell x (Ramachandran et al. 2017)
struct SiluArray {
    static constexpr bool from_input = true;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        return x * sigmoid<T>(x);
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> x) {
        const Vec<T> s = sigmoid<T>(x);
        return fma(x * s, broadcast_to<T>(1) - s, s);
    }
};

// log(erfc(z) exp(z^2) / t) with t = 1 / (1 + z / 2), as a polynomial of t for 0 <= z <= 8 (Remez,
// 3.4e-8), lowest coefficient first.
constexpr float log_erfc[] = {
    -1.265355405267f,  0.9968371995325f,  0.4014517127813f, -0.0337358928593f, 0.1961162356558f,
    -0.4372861275486f, -0.2747243381506f, 0.8465983183019f, -0.5514721334694f, 0.1215704643947f};

// The normal distribution's cumulative function: erfc(-x / sqrt(2)) / 2.
FASTRNN_INLINE Vec<float> normal_cdf(Vec<float> x) {
    const Vec<float> z = magnitude<float>(x) * broadcast_to<float>(0.70710678118654752);
    const Vec<float> t = broadcast(1.0f) / fma(z, broadcast(0.5f), broadcast(1.0f));
    Vec<float> p = broadcast(log_erfc[9]);
    FASTRNN_UNROLL
    for (int i = 8; i >= 0; --i) p = fma(p, t, broadcast(log_erfc[i]));
    const Vec<float> tail = broadcast(0.5f) * t * exp<float>(fma(-z, z, p));
    return x < zero<float>() ? tail : broadcast(1.0f) - tail;
}
FASTRNN_INLINE Vec<double> normal_cdf(Vec<double> x) {
    double value[lanes<double>];
    for (int i = 0; i < lanes<double>; ++i)
        value[i] = 0.5 * __builtin_erfc(-0.70710678118654752440 * x[i]);
    return load(value);
}

// y = x times the normal distribution's cumulative function (Hendrycks and Gimpel 2016; exact, as
// Keras's default)
struct GeluArray {
    static constexpr bool from_input = true;
    template <class T>
    static FASTRNN_INLINE Vec<T> forward(Vec<T> x) {
        return x * normal_cdf(x);
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> gradient(Vec<T> x) {
        const Vec<T> density =
            exp<T>(x * x * broadcast_to<T>(-0.5)) * broadcast_to<T>(0.39894228040143268);
        return fma(x, density, normal_cdf(x));
    }
};

template <class A, class T>
void activate(const T* x, T* y, index n) {
    for (index i = 0; i < n; i += lanes<T>) {
        const index m = smaller(lanes<T>, n - i);
        store_first(y + i, A::template forward<T>(load_first(x + i, m)), m);
    }
}

template <class A, class T>
void activate_backward(const T* kept, const T* dy, T* dx, index n) {
    for (index i = 0; i < n; i += lanes<T>) {
        const index m = smaller(lanes<T>, n - i);
        const Vec<T> slope = A::template gradient<T>(load_first(kept + i, m));
        store_first(dx + i, load_first(dy + i, m) * slope, m);
    }
}

template <class A, class T>
constexpr ActivationKernels<T> activation_kernels() {
    return {A::from_input, activate<A, T>, activate_backward<A, T>};
}

// y = exp(x) / sum(exp(x)) of one row
template <class T>
void softmax_row(const T* x, T* y, index n) {
    constexpr int L = lanes<T>;
    const Vec<T> sum = broadcast(sum_of_exp(x, n, largest_of(x, n), y));
    for (index j = 0; j < n; j += L) {
        const index m = smaller(L, n - j);
        store_first(y + j, load_first(y + j, m) / sum, m);
    }
}

// dx = y * (dy - sum(dy * y)) of one row
template <class T>
void softmax_row_backward(const T* y, const T* dy, T* dx, index n) {
    constexpr int L = lanes<T>;
    Vec<T> total = zero<T>();
    for (index j = 0; j < n; j += L) {
        const index m = smaller(L, n - j);
        total = fma(load_first(y + j, m), load_first(dy + j, m), total);
    }
    const Vec<T> sum = broadcast(sum_of_lanes<T>(total));
    for (index j = 0; j < n; j += L) {
        const index m = smaller(L, n - j);
        store_first(dx + j, load_first(y + j, m) * (load_first(dy + j, m) - sum), m);
    }
}

}  // namespace
}  // namespace fastrnn
