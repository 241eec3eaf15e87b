// Vec<T>: one register of T. ONE source serves every ISA: arithmetic, comparison and selection are
// the compiler's vector extensions; only what those lack (broadcast, fma, masked tails) has a line
// per ISA here.
//
// Everything is in an unnamed namespace: code compiled for AVX-512 must never be the copy that the
// linker keeps for all.
#pragma once

#include "base/types.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__SANITIZE_ADDRESS__)  // which checks every element of a tile: compiling takes an age
#define FASTRNN_UNROLL
#define FASTRNN_UNROLL_4
#elif defined(__clang__)
#define FASTRNN_UNROLL _Pragma("clang loop unroll(full)")
#define FASTRNN_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define FASTRNN_UNROLL _Pragma("GCC unroll 32")
#define FASTRNN_UNROLL_4 _Pragma("GCC unroll 4")
#endif
#define FASTRNN_INLINE inline __attribute__((always_inline))

namespace fastrnn {
namespace {

#if defined(FASTRNN_SCALAR)
template <class T>
constexpr int lanes = 1;
constexpr int registers = 16;
#elif defined(__AVX512F__)
template <class T>
constexpr int lanes = 64 / sizeof(T);
constexpr int registers = 32;
#elif defined(__AVX2__)
template <class T>
constexpr int lanes = 32 / sizeof(T);
constexpr int registers = 16;
#else
template <class T>
constexpr int lanes = 16 / sizeof(T);
constexpr int registers = 32;
#endif

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
    typedef float real __attribute__((vector_size(lanes<float> * sizeof(float))));
    typedef std::uint32_t bits __attribute__((vector_size(lanes<float> * sizeof(float))));
};
template <>
struct VecOf<double> {
    typedef double real __attribute__((vector_size(lanes<double> * sizeof(double))));
    typedef std::uint64_t bits __attribute__((vector_size(lanes<double> * sizeof(double))));
};

template <class T>
using Vec = typename VecOf<T>::real;
template <class T>
using Bits = typename VecOf<T>::bits;  // integers as wide as T, one a lane

template <class T>
FASTRNN_INLINE Vec<T> load(const T* p) {
    Vec<T> v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

template <class T>
FASTRNN_INLINE void store(T* p, Vec<T> v) {
    __builtin_memcpy(p, &v, sizeof(v));
}

#if defined(FASTRNN_SCALAR)

template <class T>
FASTRNN_INLINE Vec<T> broadcast(T x) {
    return Vec<T>{x};
}
// Two roundings where the machine has no fma: a library call per product would be 20 times slower.
FASTRNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__FP_FAST_FMAF)
    return Vec<float>{__builtin_fmaf(a[0], b[0], c[0])};
#else
    return a * b + c;
#endif
}
FASTRNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__FP_FAST_FMA)
    return Vec<double>{__builtin_fma(a[0], b[0], c[0])};
#else
    return a * b + c;
#endif
}

#elif defined(__AVX512F__)

FASTRNN_INLINE Vec<float> broadcast(float x) { return _mm512_set1_ps(x); }
FASTRNN_INLINE Vec<double> broadcast(double x) { return _mm512_set1_pd(x); }
FASTRNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
    return _mm512_fmadd_ps(a, b, c);
}
FASTRNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
    return _mm512_fmadd_pd(a, b, c);
}

#elif defined(__AVX2__)

FASTRNN_INLINE Vec<float> broadcast(float x) { return _mm256_set1_ps(x); }
FASTRNN_INLINE Vec<double> broadcast(double x) { return _mm256_set1_pd(x); }
FASTRNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
    return _mm256_fmadd_ps(a, b, c);
}
FASTRNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
    return _mm256_fmadd_pd(a, b, c);
}

#else  // NEON

FASTRNN_INLINE Vec<float> broadcast(float x) { return Vec<float>(vdupq_n_f32(x)); }
FASTRNN_INLINE Vec<double> broadcast(double x) { return Vec<double>(vdupq_n_f64(x)); }
FASTRNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
    return Vec<float>(vfmaq_f32(float32x4_t(c), float32x4_t(a), float32x4_t(b)));
}
FASTRNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
    return Vec<double>(vfmaq_f64(float64x2_t(c), float64x2_t(a), float64x2_t(b)));
}

#endif

// Whether a product inside fma is exact.
#if defined(FASTRNN_SCALAR) && !defined(__FP_FAST_FMAF)
constexpr bool fma_is_fused = false;
#else
constexpr bool fma_is_fused = true;
#endif

template <class T>
FASTRNN_INLINE Vec<T> broadcast_to(double x) {
    return broadcast(static_cast<T>(x));
}
template <class T>
FASTRNN_INLINE Vec<T> zero() {
    return Vec<T>{};
}

#if defined(__AVX512F__) && !defined(FASTRNN_SCALAR)
// 1 / b to 14 bits.
FASTRNN_INLINE Vec<float> estimate_reciprocal(Vec<float> b) { return _mm512_rcp14_ps(b); }
FASTRNN_INLINE Vec<double> estimate_reciprocal(Vec<double> b) { return _mm512_rcp14_pd(b); }
#endif

// The smaller and the larger of x and a limit; a NaN in x stays one.
#if defined(__AVX512F__) && !defined(FASTRNN_SCALAR)

FASTRNN_INLINE Vec<float> at_most(Vec<float> x, Vec<float> limit) {
    return _mm512_min_ps(limit, x);
}
FASTRNN_INLINE Vec<double> at_most(Vec<double> x, Vec<double> limit) {
    return _mm512_min_pd(limit, x);
}
FASTRNN_INLINE Vec<float> at_least(Vec<float> x, Vec<float> limit) {
    return _mm512_max_ps(limit, x);
}
FASTRNN_INLINE Vec<double> at_least(Vec<double> x, Vec<double> limit) {
    return _mm512_max_pd(limit, x);
}

#else

template <class V>
FASTRNN_INLINE V at_most(V x, V limit) {
    return x > limit ? limit : x;
}
template <class V>
FASTRNN_INLINE V at_least(V x, V limit) {
    return x < limit ? limit : x;
}

#endif

// The first n of a register's elements, 0 <= n <= lanes; the rest load as 0 and are not stored.
#if defined(__AVX512F__) && !defined(FASTRNN_SCALAR)

FASTRNN_INLINE Vec<float> load_first(const float* p, index n) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
FASTRNN_INLINE Vec<double> load_first(const double* p, index n) {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
}
FASTRNN_INLINE void store_first(float* p, Vec<float> v, index n) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
}
FASTRNN_INLINE void store_first(double* p, Vec<double> v, index n) {
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), v);
}

#else

template <class T>
FASTRNN_INLINE Vec<T> load_first(const T* p, index n) {
    if (n == lanes<T>) return load(p);
    T tail[lanes<T>] = {};
    for (index i = 0; i < n; ++i) tail[i] = p[i];
    return load(tail);
}
template <class T>
FASTRNN_INLINE void store_first(T* p, Vec<T> v, index n) {
    if (n == lanes<T>) return store(p, v);
    T tail[lanes<T>];
    store(tail, v);
    for (index i = 0; i < n; ++i) p[i] = tail[i];
}

#endif

// a | b, bit by bit: whichever of the two is not 0.
template <class T>
FASTRNN_INLINE Vec<T> either(Vec<T> a, Vec<T> b) {
    return (Vec<T>)((Bits<T>)a | (Bits<T>)b);
}

// 64-bit lanes, as many as of double, and the products of their lower halves.
typedef std::uint64_t Wide __attribute__((vector_size(lanes<double> * sizeof(double))));

#if defined(__AVX512F__) && !defined(FASTRNN_SCALAR)
FASTRNN_INLINE Wide multiply_lower_halves(Wide a, Wide b) {
    return (Wide)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}
#elif defined(__AVX2__) && !defined(FASTRNN_SCALAR)
FASTRNN_INLINE Wide multiply_lower_halves(Wide a, Wide b) {
    return (Wide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
#elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(FASTRNN_SCALAR)
FASTRNN_INLINE Wide multiply_lower_halves(Wide a, Wide b) {
    return (Wide)vmull_u32(vmovn_u64(uint64x2_t(a)), vmovn_u64(uint64x2_t(b)));
}
#else
FASTRNN_INLINE Wide multiply_lower_halves(Wide a, Wide b) {
    return (a & 0xffffffffu) * (b & 0xffffffffu);
}
#endif

FASTRNN_INLINE Wide exclusive_or(Wide a, Wide b, Wide c) {
#if defined(__AVX512F__) && !defined(FASTRNN_SCALAR)
    return (Wide)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
#else
    return a ^ b ^ c;
#endif
}

template <class T>
FASTRNN_INLINE T sum_of_lanes(Vec<T> v) {  // in the order of the lanes
    T total = v[0];
    for (int i = 1; i < lanes<T>; ++i) total += v[i];
    return total;
}

template <class T>
FASTRNN_INLINE T max_of_lanes(Vec<T> v) {
    T best = v[0];
    for (int i = 1; i < lanes<T>; ++i) best = v[i] > best ? v[i] : best;
    return best;
}

}  // namespace
}  // namespace fastrnn
