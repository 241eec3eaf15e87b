// Figures that several operations go by: what one of theirs costs, and how long a sum may be.
#pragma once

#include "base/types.h"

namespace fastrnn {

// An exponential is worth about this many multiplications.
constexpr double transcendental_flops = 40;

// The longest single chain of additions in a sum over time and batch: of float32, one chain of 8
// million terms errs by 2e-5, the chains of 1,000 by 2e-7.
constexpr index terms_in_a_chain = 1024;

}  // namespace fastrnn
