// Losses of n rows of predictions, row by row, and their weighted sum. Every array is contiguous.
//
// Each returns scale * sum over n of weights[n] * losses[n], in double and in the order of n, and
// writes the unweighted losses and the gradient of what it returns. weights (null: ones) and the
// gradient may be null. A row of weight 0 is not read: its loss and gradient are 0.
#pragma once

#include "base/types.h"
#include "kernels/table.h"

namespace fastrnn {

template <class T>
struct LossRows {
    index n, classes;
    const T* predictions;  // [n, classes]
    const T* weights;      // [n] or null
    double scale;
    T* losses;        // [n]
    T* dpredictions;  // [n, classes], null or the predictions themselves
};

// Of logits; a row with a negative label counts as one of weight 0.
template <class T>
double softmax_cross_entropy(const LossRows<T>& rows, const std::int64_t* labels);
// Of probabilities, which are divided by their sum.
template <class T>
double cross_entropy(const LossRows<T>& rows, const std::int64_t* labels);
// targets: [n, classes]; kernels/table.h says what the parameter is.
template <class T>
double row_loss(const LossRows<T>& rows, RowLoss kind, const T* targets, double parameter);

}  // namespace fastrnn
