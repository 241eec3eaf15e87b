// Elman RNN (1990):
//
//   h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu in tanh's place
#pragma once

#include "kernels/step.h"

namespace fastrnn {
namespace {

struct Tanh {
    template <class V>
    static FASTRNN_INLINE V apply(const V& x) {
        return tanh(x);
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> derivative(Vec<T> y) {
        return d_tanh<T>(y);
    }
};

struct Relu {
    template <class V>
    static FASTRNN_INLINE V apply(const V& x) {
        return relu(x);
    }
    template <class T>
    static FASTRNN_INLINE Vec<T> derivative(Vec<T> y) {
        return d_relu<T>(y);
    }
};

template <class Activation>
struct Rnn {
    static constexpr int slots = 1;  // the activation's argument
    static constexpr int gates = 1, x_slot = 0, h_slot = 0;
    static constexpr int x_gate[gates] = {0}, h_gate[gates] = {0};
    static constexpr int units =
        product_panel;  // with one gate, several registers of units fill a tile
    static constexpr bool has_c = false, needs_h_prev = false, keeps_gates = false;

    template <class T>
    static FASTRNN_INLINE void begin(Vec<T>* acc, const T* slot, const T*) {
        acc[0] = load(slot);
    }

    template <class T, int rows>
    static FASTRNN_INLINE void forward(ForwardUnits<T, rows>& s, bool) {
        s.h = Activation::apply(s.acc[0]);
    }

    template <class T>
    static FASTRNN_INLINE void backward(BackwardUnit<T>& s) {
        s.dslots[0] = s.dh * Activation::template derivative<T>(s.h);
        s.dh = zero<T>();
    }
};

}  // namespace
}  // namespace fastrnn
