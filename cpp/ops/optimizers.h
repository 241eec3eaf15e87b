// One optimiser step over all parameters in one parallel region, with clipping.
#pragma once

#include <vector>

#include "kernels/table.h"

namespace fastrnn {

// `all.gradient` is as large as the parameter; or it holds `rows` rows of `width`, those numbered
// `row` of the parameter, each once, and the gradient of all others is 0: no number of the result
// depends on which.
template <class T>
struct Parameter {
    ParameterSlice<T> all{};
    index size = 0;  // of the parameter
    const std::int64_t* row = nullptr;
    index rows = 0, width = 0;
};

// What is done to the gradients first: they are multiplied by `scale`, and then nothing, or each
// number is kept within +-limit, or each gradient's norm is, or the norm of all together.
enum class ClipKind { none, value, norm, global_norm };
struct Clipping {
    double scale = 1;
    ClipKind kind = ClipKind::none;
    double limit = 0;
};

template <class T>
void sgd(const std::vector<Parameter<T>>& parameters, const SgdStep<T>& step,
         const Clipping& clipping);
template <class T>
void adam(const std::vector<Parameter<T>>& parameters, const AdamStep<T>& step,
          const Clipping& clipping);
template <class T>
void rmsprop(const std::vector<Parameter<T>>& parameters, const RmspropStep<T>& step,
             const Clipping& clipping);

// The square root of the sum of all gradients' squares; a parameter here is no larger than its
// gradient.
template <class T>
double global_norm(const std::vector<Parameter<T>>& parameters);

}  // namespace fastrnn
