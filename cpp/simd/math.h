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
//
// Up to exp_most exp is finite. At exp_least it is subnormal, next to nothing, and still k no
// smaller than the least exponent there is.
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
    static constexpr float exp_most = 88.0f, exp_least = -88.0f;
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
    static constexpr double exp_most = 709.4, exp_least = -709.05;
    static constexpr double tanh_limit = 19.07;
};

// x = k ln(2) + r, |r| <= ln(2)/2: returns r; k ends in the low bits of `shifted`. `Roughly`: ln(2)
// in one piece, off by k times 2e-9 (float64: 2e-17), where k times that is not rounded.
template <bool Roughly, class T, int N>
FASTRNN_INLINE Group<T, N> reduce(const Group<T, N>& x, Group<T, N>& shifted) {
    using C = ExpConstants<T>;
    const Vec<T> magic = broadcast(C::round_to_integer);
    shifted = fma(x, broadcast_to<T>(1.44269504088896340736), magic);
    const Group<T, N> k = shifted - magic;
    if constexpr (Roughly && fma_is_fused)
        return fma(k, broadcast_to<T>(-0.693147180559945309417), x);
    return fma(k, broadcast(-C::ln2_low), fma(k, broadcast(-C::ln2_high), x));
}

// v 2^k: k is added to the exponent.
template <class T, int N>
FASTRNN_INLINE Group<T, N> scale(const Group<T, N>& v, const Group<T, N>& shifted) {
    return v.each(
        [](Vec<T> a, Vec<T> k) {
            return (Vec<T>)((Bits<T>)a + ((Bits<T>)k << ExpConstants<T>::mantissa_bits));
        },
        v, shifted);
}

template <class T, int N>
FASTRNN_INLINE Group<T, N> q_of(const Group<T, N>& r) {
    using C = ExpConstants<T>;
    constexpr int n = sizeof(C::q) / sizeof(C::q[0]);
    Group<T, N> q = broadcast(C::q[n - 1]);
    FASTRNN_UNROLL
    for (int i = n - 2; i >= 0; --i) q = fma(q, r, broadcast(C::q[i]));
    return q;
}

// For exp_least <= x <= exp_most. A NaN may come out as any number: scale() adds its low bits to
// its exponent.
template <class T, int N>
FASTRNN_INLINE Group<T, N> exp_of_finite(const Group<T, N>& x) {
    const Vec<T> one = broadcast_to<T>(1);
    Group<T, N> shifted;
    const Group<T, N> r = reduce<false>(x, shifted);
    return scale(fma(fma(q_of(r), r, one), r, one), shifted);
}

// y, or a NaN where x is one; otherwise x is finite and y not 0.
template <class T, int N>
FASTRNN_INLINE Group<T, N> or_nan_of(const Group<T, N>& x, const Group<T, N>& y) {
    return fma(x, Group<T, N>(zero<T>()), y);
}

template <class T, int N>
FASTRNN_INLINE Group<T, N> exp(Group<T, N> x) {
    const Vec<T> most = broadcast(ExpConstants<T>::exp_most),
                 least = broadcast(ExpConstants<T>::exp_least);
    x = x.each([&](Vec<T> v) { return at_least(at_most(v, most), least); }, x);
    return or_nan_of(x, exp_of_finite(x));
}

// For exp_least <= x <= exp_most.
template <bool Roughly, class T, int N>
FASTRNN_INLINE Group<T, N> expm1(const Group<T, N>& x) {
    const Group<T, N> one = broadcast_to<T>(1);
    Group<T, N> shifted;
    const Group<T, N> r = reduce<Roughly>(x, shifted), power = scale(one, shifted);
    return fma(power, fma(r * r, q_of(r), r), power - one);
}

template <class T, int N>
FASTRNN_INLINE Group<T, N> sigmoid(Group<T, N> x) {
    const Vec<T> most = broadcast(-ExpConstants<T>::exp_least),
                 least = broadcast(-ExpConstants<T>::exp_most);
    x = x.each([&](Vec<T> v) { return at_least(at_most(v, most), least); }, x);
    const Group<T, N> e = exp_of_finite(x.each([](Vec<T> v) { return -v; }, x));
    return reciprocal(e + or_nan_of(x, Group<T, N>(broadcast_to<T>(1))));
}

// e / (e + 2) with e = expm1(2|x|). A quotient y of three rounded steps may be 2.5 ulp off; what is
// left of e, (e - 2y) - ye, whose first difference is exact towards 0, mends it.
template <class T, int N>
FASTRNN_INLINE Group<T, N> tanh(Group<T, N> x) {
    using V = Group<T, N>;
    const Bits<T> sign = (Bits<T>)broadcast_to<T>(-0.0);
    const Vec<T> limit = broadcast(ExpConstants<T>::tanh_limit), two = broadcast_to<T>(2);
    const V magnitude =
        V::each([&](Vec<T> v) { return at_most((Vec<T>)((Bits<T>)v & ~sign), limit); }, x);
    const V e = expm1<true>(magnitude + magnitude);
    const V r = rough_reciprocal(e + two);
    V y = e * r;
    const V left = V::each([&](Vec<T> v, Vec<T> w) { return fma(-v, w, fma(-two, v, w)); }, y, e);
    y = fma(left, r, y);
    if constexpr (!fma_is_fused) {  // ye is rounded, which is too coarse where e is large
        const auto by_difference = [&](Vec<T> v, Vec<T> w, Vec<T> m) {
            return m < broadcast_to<T>(0.625) ? v : fma(-two, w, broadcast_to<T>(1));
        };
        y = V::each(by_difference, y, r, magnitude);
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
