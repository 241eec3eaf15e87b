// GRU, reset after the product (cuDNN's and PyTorch's form of Cho et al. 2014):
//
//   r = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
//   z = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
//   n = tanh   (W_in x_t + b_in + r * q),  q = W_hn h_{t-1} + b_hn
//   h_t = (1 - z) * n + z * h_{t-1}
#pragma once

#include "kernels/step.h"

namespace fastrnn {
namespace {

struct Gru {
    // n, r, z, q: the input's product fills the first three, the recurrent one the last three, each
    // in one run.
    static constexpr int slots = 4;
    static constexpr int gates = 3, x_slot = 0, h_slot = 1;
    // The parameters' order is r, z, n.
    static constexpr int x_gate[gates] = {2, 0, 1}, h_gate[gates] = {0, 1, 2};
    static constexpr int units = 1;
    static constexpr bool has_c = false, needs_h_prev = true, keeps_gates = true;

    template <class T>
    static FASTRNN_INLINE void begin(Vec<T>* acc, const T* slot, const T* bias_q) {
        acc[0] = load(slot + lanes<T>);
        acc[1] = load(slot + 2 * lanes<T>);
        acc[2] = bias_q ? load(bias_q) : zero<T>();
    }

    template <class T>
    static FASTRNN_INLINE void carry_on(Vec<T>* acc, T* slot, const T* bias_q) {
        store(slot, acc[0]);
        acc[0] = acc[1];
        acc[1] = acc[2];
        acc[2] = bias_q ? load(bias_q) : zero<T>();
    }

    template <class T, int rows>
    static FASTRNN_INLINE void forward(ForwardUnits<T, rows>& s, bool keep) {
        const auto r = sigmoid(s.acc[0]);
        const auto z = sigmoid(s.acc[1]);
        const auto q = s.acc[2];
        const auto n = tanh(fma(r, q, s.from_input(0)));
        s.h = fma(z, s.h_prev - n, n);
        if (keep) {
            s.keep(0, n);
            s.keep(1, r);
            s.keep(2, z);
            s.keep(3, q);
        }
    }

    template <class T>
    static FASTRNN_INLINE void backward(BackwardUnit<T>& s) {
        const Vec<T> n = s.slots[0], r = s.slots[1], z = s.slots[2], q = s.slots[3];
        // h = n + z * (h_prev - n)
        const Vec<T> dz = s.dh * (s.h_prev - n);
        const Vec<T> dn = fma(-s.dh, z, s.dh);
        s.dh = s.dh * z;
        // n = tanh(... + r * q)
        s.dslots[0] = dn * d_tanh<T>(n);
        const Vec<T> dr = s.dslots[0] * q;
        s.dslots[3] = s.dslots[0] * r;
        // the gates' activations
        s.dslots[1] = dr * d_sigmoid<T>(r);
        s.dslots[2] = dz * d_sigmoid<T>(z);
    }
};

}  // namespace
}  // namespace fastrnn
