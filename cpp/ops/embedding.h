// Rows of a table by their numbers. Every array is contiguous.
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

}  // namespace fastrnn
