// Embedding and dropout. Every array is contiguous.
#pragma once

#include <vector>

#include "base/types.h"

namespace fastrnn {

// out[n] = table[ids[n]]; ids are checked by the caller.
template <class T>
void embedding_forward(const std::int64_t* ids, index n, const T* table, index width, T* out);
// dtable = the sums of dout per id, in the order of n.
template <class T>
void embedding_backward(const std::int64_t* ids, index n, const T* dout, index rows, index width,
                        T* dtable);
// The ids that occur, each once, as they first appear; place[n]: where among them ids[n] is.
std::vector<std::int64_t> number_ids(const std::int64_t* ids, index n, std::int64_t* place);

// x, out: [rows, steps, units]; out may be x.
template <class T>
void dropout(const T* x, T* out, index rows, index steps, index units, double p, std::uint64_t seed,
             std::uint32_t stream, index first_step);

// Floating-point operations per second of fma in registers.
template <class T>
double fma_peak(int threads, double seconds);

}  // namespace fastrnn
