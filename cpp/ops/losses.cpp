#include "ops/losses.h"

#include <algorithm>

#include "dispatch/isa.h"
#include "ops/costs.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

// body(row, its predictions, what multiplies its gradient, its gradient) returns the row's loss.
template <class T, class Exists, class Body>
double over_rows(const LossRows<T>& r, const Exists& exists, const Body& body) {
    for_ranges(r.n, static_cast<double>(r.n * r.classes) * transcendental_flops,
               [&](index begin, index end) {
                   for (index i = begin; i < end; ++i) {
                       const T weight = r.weights ? r.weights[i] : T(1);
                       T* const gradient =
                           r.dpredictions ? r.dpredictions + i * r.classes : nullptr;
                       if (weight == T(0) || !exists(i)) {
                           r.losses[i] = T(0);
                           if (gradient) std::fill_n(gradient, r.classes, T(0));
                           continue;
                       }
                       r.losses[i] = body(i, r.predictions + i * r.classes,
                                          static_cast<T>(weight * r.scale), gradient);
                   }
               });
    double total = 0;
    for (index i = 0; i < r.n; ++i) {
        const double weight = r.weights ? static_cast<double>(r.weights[i]) : 1.0;
        total += static_cast<double>(r.losses[i]) * weight;
    }
    return total * r.scale;
}

}  // namespace

template <class T>
double softmax_cross_entropy(const LossRows<T>& rows, const std::int64_t* labels) {
    return over_rows(
        rows, [&](index i) { return labels[i] >= 0; },
        [&](index i, const T* logits, T weight, T* gradient) {
            return current_table<T>().softmax_cross_entropy_row(logits, rows.classes, labels[i],
                                                                weight, gradient);
        });
}

template <class T>
double cross_entropy(const LossRows<T>& rows, const std::int64_t* labels) {
    return over_rows(
        rows, [&](index i) { return labels[i] >= 0; },
        [&](index i, const T* probabilities, T weight, T* gradient) {
            return current_table<T>().cross_entropy_row(probabilities, rows.classes, labels[i],
                                                        weight, gradient);
        });
}

template <class T>
double row_loss(const LossRows<T>& rows, RowLoss kind, const T* targets, double parameter) {
    const RowLossKernel<T> kernel = current_table<T>().row_loss[static_cast<int>(kind)];
    return over_rows(
        rows, [](index) { return true; },
        [&](index i, const T* predictions, T weight, T* gradient) {
            return kernel(predictions, targets + i * rows.classes, rows.classes, weight,
                          static_cast<T>(parameter), gradient);
        });
}

#define FASTRNN_INSTANTIATE(T)                                                      \
    template double softmax_cross_entropy(const LossRows<T>&, const std::int64_t*); \
    template double cross_entropy(const LossRows<T>&, const std::int64_t*);         \
    template double row_loss(const LossRows<T>&, RowLoss, const T*, double);
FASTRNN_INSTANTIATE(float)
FASTRNN_INSTANTIATE(double)
#undef FASTRNN_INSTANTIATE

}  // namespace fastrnn
