// LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000):
//
//   i = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)
//   f = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf)
//   g = tanh   (W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
//   o = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho)
//   c_t = f * c_{t-1} + i * g
//   h_t = o * tanh(c_t)
#pragma once

#include "kernels/step.h"

namespace fastrnn {
namespace {

struct Lstm {
    static constexpr int slots = 4;  // i, f, g, o
    static constexpr int gates = 4, x_slot = 0, h_slot = 0;
    static constexpr int x_gate[gates] = {0, 1, 2, 3}, h_gate[gates] = {0, 1, 2, 3};
    static constexpr int units = 1;
    static constexpr bool has_c = true, needs_h_prev = false, keeps_gates = true;

    template <class T>
    static FASTRNN_INLINE void begin(Vec<T>* acc, const T* slot, const T*) {
        FASTRNN_UNROLL
        for (int k = 0; k < gates; ++k) acc[k] = load(slot + k * lanes<T>);
    }

    template <class V>
    static FASTRNN_INLINE V next_c(const V& i, const V& f, const V& g, const V& c_prev) {
        return fma(f, c_prev, i * g);
    }

    template <class T, int rows>
    static FASTRNN_INLINE void forward(ForwardUnits<T, rows>& s, bool keep) {
        const auto i = sigmoid(s.acc[0]);
        const auto f = sigmoid(s.acc[1]);
        const auto g = tanh(s.acc[2]);
        const auto o = sigmoid(s.acc[3]);
        s.c = next_c(i, f, g, s.c_prev);
        s.h = o * tanh(s.c);
        if (keep) {
            s.keep(0, i);
            s.keep(1, f);
            s.keep(2, g);
            s.keep(3, o);
        }
    }

    template <class T>
    static FASTRNN_INLINE Vec<T> restore_c(const Slots<const T>& slots, Vec<T> c_prev) {
        return next_c<Vec<T>>(slots[0], slots[1], slots[2], c_prev);
    }

    template <class T>
    static FASTRNN_INLINE void backward(BackwardUnit<T>& s) {
        const Vec<T> i = s.slots[0], f = s.slots[1], g = s.slots[2], o = s.slots[3];
        const Vec<T> tanh_c = tanh<T>(s.c);
        // h = o * tanh(c)
        const Vec<T> d_o = s.dh * tanh_c;
        const Vec<T> dc = fma(s.dh * o, d_tanh<T>(tanh_c), s.dc);
        // c = f * c_prev + i * g
        const Vec<T> di = dc * g, df = dc * s.c_prev, dg = dc * i;
        s.dc = dc * f;
        s.dh = zero<T>();
        // the gates' activations
        s.dslots[0] = di * d_sigmoid<T>(i);
        s.dslots[1] = df * d_sigmoid<T>(f);
        s.dslots[2] = dg * d_tanh<T>(g);
        s.dslots[3] = d_o * d_sigmoid<T>(o);
    }
};

}  // namespace
}  // namespace fastrnn
