// The rest of a training step: embedding, dropout, losses, optimisers. Every array is contiguous.
#pragma once

#include <vector>

#include "base/types.h"
#include "kernels/table.h"

namespace fastrnn {

// out[n] = table[ids[n]]; ids are checked by the caller.
template <class T>
void embedding_forward(const std::int64_t* ids, index n, const T* table, index width, T* out);
// dtable = the sums of dout per id, in the order of n.
template <class T>
void embedding_backward(const std::int64_t* ids, index n, const T* dout, index rows, index width,
                        T* dtable);

// x, out: [rows, steps, units]; out may be x.
template <class T>
void dropout(const T* x, T* out, index rows, index steps, index units, double p, std::uint64_t seed,
             std::uint32_t stream, index first_step);

// Sums of weights[n] * losses[n], in double and in the order of n. weights and dlogits may be null.
template <class T>
double softmax_cross_entropy(const T* logits, const std::int64_t* labels, const T* weights, index n,
                             index classes, T* losses, T* dlogits);
template <class T>
double binary_cross_entropy(const T* logits, const T* targets, const T* weights, index n, T* losses,
                            T* dlogits);

// One optimiser step over all parameters. Each parameter with its gradient and what the optimiser
// keeps of it.
template <class T>
struct Parameter {
    T* value;
    const T* gradient;
    T* first;   // Adam: the first moment; SGD: the velocity, or null
    T* second;  // Adam: the second moment
    index size;
};
template <class T>
void adam(const std::vector<Parameter<T>>& parameters, const AdamStep<T>& step);
template <class T>
void sgd(const std::vector<Parameter<T>>& parameters, const SgdStep<T>& step);
// The square root of the sum of all gradients' squares.
template <class T>
double global_norm(const std::vector<Parameter<T>>& parameters);

// Floating-point operations per second of fma in registers.
template <class T>
double fma_peak(int threads, double seconds);

}  // namespace fastrnn
