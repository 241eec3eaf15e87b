// What core.PackedWeights is on this side: made by pack_weights, used by recurrent_forward,
// Inference and Stepper.
#pragma once

#include <variant>

#include "bindings/arrays.h"
#include "ops/recurrent.h"

namespace fastrnn {

struct PyPackedWeights {
    std::variant<PackedStack<float>, PackedStack<double>> stack;
    RecurrentShape shape;  // without the call's part: steps and batch say nothing

    bool fits(const RecurrentShape& s) const {
        return shape.cell == s.cell && shape.input_size == s.input_size &&
               shape.hidden_size == s.hidden_size && shape.layers == s.layers &&
               shape.directions == s.directions;
    }
    index bytes() const {
        return std::visit([](const auto& s) { return s.bytes(); }, stack);
    }
};

}  // namespace fastrnn
