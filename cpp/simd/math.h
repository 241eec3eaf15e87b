// exp, tanh, sigmoid on registers, and the derivatives written in terms of the OUTPUT.
//
// Accuracy, measured by tests/test_activations.py: float32 tanh within 2 ulp and sigmoid within 4,
// float64 within 4. Both saturate, and a NaN comes out as a NaN.
#pragma once

#include "simd/vec.h"

namespace fastrnn {
namespace {

// expm1(r) = r + r^2 q(r) on |r| <= ln(2)/2: minimax coefficients of q (Remez, error relative to
// r), lowest first.
template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
    static constexpr float q[] = {5.000000059021883361e-01f, 1.6666544519220092704e-01f,
                                  4.1666287472557980586e-02f, 8.366473643383214421e-03f,
                                  1.3946223636687925024e-03f};
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float round_to_integer =
        12582912.0f;  // 1.5 * 2^23: the integer ends in the low bits
    static constexpr int mantissa_bits = 23;
    static constexpr std::int32_t one = 127 << 23;
    static constexpr float exp_limit = 88.0f;   // exp stays finite; below, it is 0 or denormal
    static constexpr float tanh_limit = 9.02f;  // from here on tanh rounds to 1
};

template <>
struct ExpConstants<double> {
    static constexpr double q[] = {5.0000000000000034825e-01, 1.6666666666666671119e-01,
                                   4.1666666666594778948e-02, 8.33333333332598667e-03,
                                   1.3888888926225831583e-03, 1.9841269875305503845e-04,
                                   2.480151119726903539e-05,  2.755725481169365281e-06,
                                   2.7623837818862256536e-07, 2.5105454012670265939e-08};
    static constexpr double ln2_high = 6.93147180369123816490e-01,
                            ln2_low = 1.90821492927058770002e-10;
    static constexpr double round_to_integer = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr int mantissa_bits = 52;
    static constexpr std::int64_t one = std::int64_t{1023} << 52;
    static constexpr double exp_limit = 709.4;
    static constexpr double tanh_limit = 19.07;
};

// x = k ln(2) + r; returns expm1(r) and writes 2^k.
template <class T>
FASTRNN_INLINE Vec<T> expm1_reduced(Vec<T> x, Vec<T>& power_of_two) {
    using C = ExpConstants<T>;
    const Vec<T> magic = broadcast(C::round_to_integer);
    const Vec<T> shifted = fma(x, broadcast_to<T>(1.44269504088896340736), magic);
    const Vec<T> k = shifted - magic;
    power_of_two = (Vec<T>)(((Bits<T>)shifted << C::mantissa_bits) + C::one);
    Vec<T> r = fma(k, broadcast(-C::ln2_high), x);
    r = fma(k, broadcast(-C::ln2_low), r);
    constexpr int n = sizeof(C::q) / sizeof(C::q[0]);
    Vec<T> q = broadcast(C::q[n - 1]);
    FASTRNN_UNROLL
    for (int i = n - 2; i >= 0; --i) q = fma(q, r, broadcast(C::q[i]));
    return fma(r * r, q, r);
}

template <class T>
FASTRNN_INLINE Vec<T> exp(Vec<T> x) {
    const Vec<T> limit = broadcast(ExpConstants<T>::exp_limit);
    x = at_least(at_most(x, limit), -limit);
    Vec<T> scale;
    const Vec<T> p = expm1_reduced<T>(x, scale);
    return fma(scale, p, scale);
}

template <class T>
FASTRNN_INLINE Vec<T> sigmoid(Vec<T> x) {
    return reciprocal<T>(broadcast_to<T>(1) + exp<T>(-x));
}

// (tanh(x) - x) / x^3 as a polynomial of x^2 for |x| < 0.625 (Remez), lowest coefficient first.
constexpr float tanh_small[] = {-3.333329495394e-01f, 1.333172511194e-01f, -5.375982462065e-02f,
                                2.069691527627e-02f, -5.763205941231e-03f};
constexpr float tanh_small_limit = 0.625f;

// float32: a polynomial towards 0, else 1 - 2 / (exp(2|x|) + 1). float64: e / (e + 2) with
// e = expm1(2|x|), whose three roundings add up to 2.5 ulp towards 0; that would be too many for
// float32.
template <class T>
FASTRNN_INLINE Vec<T> tanh(Vec<T> x) {
    const Bits<T> sign = (Bits<T>)x & (Bits<T>)broadcast_to<T>(-0.0);
    const Vec<T> limit = broadcast(ExpConstants<T>::tanh_limit);
    Vec<T> magnitude = (Vec<T>)((Bits<T>)x ^ sign);
    magnitude = at_most(magnitude, limit);
    Vec<T> scale;
    const Vec<T> p = expm1_reduced<T>(magnitude + magnitude, scale);
    const Vec<T> one = broadcast_to<T>(1), two = broadcast_to<T>(2);
    Vec<T> y;
    if constexpr (sizeof(T) == sizeof(float)) {
        const Vec<T> square = magnitude * magnitude;
        Vec<T> q = broadcast(tanh_small[4]);
        FASTRNN_UNROLL
        for (int i = 3; i >= 0; --i) q = fma(q, square, broadcast(tanh_small[i]));
        const Vec<T> large = fma(-two, reciprocal<T>(fma(scale, p, scale + one)), one);
        y = magnitude < broadcast(tanh_small_limit) ? fma(q * square, magnitude, magnitude) : large;
    } else {
        const Vec<T> e = fma(scale, p, scale - one);
        y = divide<T>(e, e + two);
    }
    return (Vec<T>)((Bits<T>)y | sign);
}

template <class T>
FASTRNN_INLINE Vec<T> relu(Vec<T> x) {
    return x < zero<T>() ? zero<T>() : x;
}

template <class T>
FASTRNN_INLINE Vec<T> d_sigmoid(Vec<T> y) {
    return y * (broadcast_to<T>(1) - y);
}

template <class T>
FASTRNN_INLINE Vec<T> d_tanh(Vec<T> y) {
    return fma(-y, y, broadcast_to<T>(1));
}

template <class T>
FASTRNN_INLINE Vec<T> d_relu(Vec<T> y) {
    return y > zero<T>() ? broadcast_to<T>(1) : zero<T>();
}

}  // namespace
}  // namespace fastrnn
