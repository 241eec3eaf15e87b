// out = x W^T + b and its gradients, on the micro-kernel of the recurrent products. All matrices
// are contiguous.
#pragma once

#include "base/types.h"

namespace fastrnn {

template <class T>
struct LinearShape {
    index rows, input, output;
    const T* x;       // [rows, input]
    const T* weight;  // [output, input]
};

template <class T>
void linear_forward(const LinearShape<T>& shape, const T* bias, T* out);

// Any of the results may be null.
template <class T>
void linear_backward(const LinearShape<T>& shape, const T* dout, T* dx, T* dweight, T* dbias);

}  // namespace fastrnn
