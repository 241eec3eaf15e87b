// exp, tanh, sigmoid on registers, and the derivatives written in terms of the OUTPUT.
//
// Accuracy, measured by tests/test_activations.py: float32 tanh within 2 ulp and sigmoid within 4,
// float64 within 4. Both saturate, and a NaN comes out as a NaN.
#pragma once

#include "simd/group.h"

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
template <class T, int N>
FASTRNN_INLINE Group<T, N> expm1_reduced(Group<T, N> x, Group<T, N>& power_of_two) {
    using C = ExpConstants<T>;
    using V = Group<T, N>;
    const Vec<T> magic = broadcast(C::round_to_integer);
    const V shifted = fma(x, broadcast_to<T>(1.44269504088896340736), magic);
    const V k = shifted - magic;
    power_of_two = V::each(
        [](Vec<T> v) { return (Vec<T>)(((Bits<T>)v << C::mantissa_bits) + C::one); }, shifted);
    V r = fma(k, broadcast(-C::ln2_high), x);
    r = fma(k, broadcast(-C::ln2_low), r);
    constexpr int n = sizeof(C::q) / sizeof(C::q[0]);
    V q = broadcast(C::q[n - 1]);
    FASTRNN_UNROLL
    for (int i = n - 2; i >= 0; --i) q = fma(q, r, broadcast(C::q[i]));
    return fma(r * r, q, r);
}

template <class T, int N>
FASTRNN_INLINE Group<T, N> exp(Group<T, N> x) {
    const Vec<T> limit = broadcast(ExpConstants<T>::exp_limit);
    x = x.each([&](Vec<T> v) { return at_least(at_most(v, limit), -limit); }, x);
    Group<T, N> scale;
    const Group<T, N> p = expm1_reduced(x, scale);
    return fma(scale, p, scale);
}

template <class T, int N>
FASTRNN_INLINE Group<T, N> sigmoid(Group<T, N> x) {
    x = x.each([](Vec<T> v) { return -v; }, x);
    return reciprocal(exp(x) + broadcast_to<T>(1));
}

// (tanh(x) - x) / x^3 as a polynomial of x^2 for |x| < 0.625 (Remez), lowest coefficient first.
constexpr float tanh_small[] = {-3.333329495394e-01f, 1.333172511194e-01f, -5.375982462065e-02f,
                                2.069691527627e-02f, -5.763205941231e-03f};
constexpr float tanh_small_limit = 0.625f;

// float32: a polynomial towards 0, else 1 - 2 / (exp(2|x|) + 1). float64: e / (e + 2) with
// e = expm1(2|x|), whose three roundings add up to 2.5 ulp towards 0; that would be too many for
// float32.
template <class T, int N>
FASTRNN_INLINE Group<T, N> tanh(Group<T, N> x) {
    using V = Group<T, N>;
    const Bits<T> sign = (Bits<T>)broadcast_to<T>(-0.0);
    const Vec<T> limit = broadcast(ExpConstants<T>::tanh_limit);
    const Vec<T> one = broadcast_to<T>(1), two = broadcast_to<T>(2);
    const V magnitude =
        V::each([&](Vec<T> v) { return at_most((Vec<T>)((Bits<T>)v & ~sign), limit); }, x);
    V scale;
    const V p = expm1_reduced(magnitude + magnitude, scale);
    V y;
    if constexpr (sizeof(T) == sizeof(float)) {
        const V square = magnitude * magnitude;
        V q = broadcast(tanh_small[4]);
        FASTRNN_UNROLL
        for (int i = 3; i >= 0; --i) q = fma(q, square, broadcast(tanh_small[i]));
        const V small = fma(q * square, magnitude, magnitude);
        const V large = fma(-two, reciprocal(fma(scale, p, scale + one)), one);
        y = V::each(
            [](Vec<T> v, Vec<T> s, Vec<T> l) { return v < broadcast(tanh_small_limit) ? s : l; },
            magnitude, small, large);
    } else {
        const V e = fma(scale, p, scale - one);
        y = divide(e, e + two);
    }
    return V::each([&](Vec<T> v, Vec<T> w) { return (Vec<T>)((Bits<T>)v | ((Bits<T>)w & sign)); },
                   y, x);
}

// The same of one register.
template <class T>
FASTRNN_INLINE Vec<T> exp(Vec<T> x) {
    return exp(Group<T, 1>(x)).row[0];
}
template <class T>
FASTRNN_INLINE Vec<T> sigmoid(Vec<T> x) {
    return sigmoid(Group<T, 1>(x)).row[0];
}
template <class T>
FASTRNN_INLINE Vec<T> tanh(Vec<T> x) {
    return tanh(Group<T, 1>(x)).row[0];
}

template <class T, int N>
FASTRNN_INLINE Group<T, N> relu(const Group<T, N>& x) {
    return x.each([](Vec<T> v) { return v < zero<T>() ? zero<T>() : v; }, x);
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
