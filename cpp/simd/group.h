// Group<T, N>: N registers that take the same steps side by side. One instruction of each in turn
// keeps N chains under way: an activation is a chain of some twenty instructions, and a core that
// it shares with another hyperthread looks only 256 ahead (as does a Zen 3). There the LSTM's five
// take 120 cycles a row and register one row after another, and 95 three rows side by side.
#pragma once

#include "simd/vec.h"

namespace fastrnn {
namespace {

template <class T, int N>
struct Group {
    Vec<T> row[N];

    Group() = default;
    FASTRNN_INLINE Group(Vec<T> all) {
        FASTRNN_UNROLL
        for (int n = 0; n < N; ++n) row[n] = all;
    }

    friend FASTRNN_INLINE Group operator+(const Group& a, const Group& b) {
        return each([](Vec<T> x, Vec<T> y) { return x + y; }, a, b);
    }
    friend FASTRNN_INLINE Group operator-(const Group& a, const Group& b) {
        return each([](Vec<T> x, Vec<T> y) { return x - y; }, a, b);
    }
    friend FASTRNN_INLINE Group operator*(const Group& a, const Group& b) {
        return each([](Vec<T> x, Vec<T> y) { return x * y; }, a, b);
    }
    friend FASTRNN_INLINE Group fma(const Group& a, const Group& b, const Group& c) {
        return each([](Vec<T> x, Vec<T> y, Vec<T> z) { return fastrnn::fma(x, y, z); }, a, b, c);
    }

    // f of each register of the operands.
    template <class F, class... Operands>
    static FASTRNN_INLINE Group each(const F& f, const Operands&... operands) {
        Group result;
        FASTRNN_UNROLL
        for (int n = 0; n < N; ++n) result.row[n] = f(operands.row[n]...);
        return result;
    }
};

// 1 / b for finite b, to half of a type's bits or more. AVX-512 divides one register in 16 cycles
// (Golden Cove), which is half of an activation; an estimate of 1 / b with Newton's steps, each of
// which doubles its bits, takes a third of that.
template <class T, int N>
FASTRNN_INLINE Group<T, N> newton_step(const Group<T, N>& b, const Group<T, N>& r) {
    const Group<T, N> error =
        b.each([](Vec<T> v, Vec<T> w) { return fma(-v, w, broadcast_to<T>(1)); }, b, r);
    return fma(error, r, r);
}
template <class T, int N>
FASTRNN_INLINE Group<T, N> rough_reciprocal(const Group<T, N>& b) {
#if defined(__AVX512F__) && !defined(FASTRNN_SCALAR)
    const Group<T, N> r = b.each([](Vec<T> v) { return estimate_reciprocal(v); }, b);  // 14 bits
    return sizeof(T) == 4 ? r : newton_step(b, r);
#else
    return b.each([](Vec<T> v) { return broadcast_to<T>(1) / v; }, b);
#endif
}
// To within a unit in the last place.
template <class T, int N>
FASTRNN_INLINE Group<T, N> reciprocal(const Group<T, N>& b) {
#if defined(__AVX512F__) && !defined(FASTRNN_SCALAR)
    return newton_step(b, rough_reciprocal(b));
#else
    return rough_reciprocal(b);
#endif
}

}  // namespace
}  // namespace fastrnn
