// What the forward and the backward pass of a stack share: where lies what its layers hand to each
// other, and how a team goes through the directions of one.
#pragma once

#include <vector>

#include "ops/sharing.h"

namespace fastrnn {

// An inner layer's output, what dropout makes of it, or the gradient of either: [T, B, D * H] in
// one of `buffers`, which layers take in turn.
template <class T>
Tensor3<T> output_in(const std::vector<Buffer<T>>& buffers, const RecurrentShape& shape,
                     index layer) {
    const index width = shape.directions * shape.hidden_size;
    const std::size_t place = static_cast<std::size_t>(layer) % buffers.size();
    return {buffers[place].data(), shape.batch * width, width};
}

// The first layer's input after dropout, [T, B, I]: each direction's in a buffer of its own.
template <class T>
Tensor3<T> input_in(const std::vector<Buffer<T>>& buffers, const RecurrentShape& shape,
                    index direction) {
    const std::size_t place = static_cast<std::size_t>(direction);
    return {buffers[place].data(), shape.batch * shape.input_size, shape.input_size};
}

// body(team, direction) for each direction of a layer: side by side, without a barrier after them,
// or one after another.
template <class Body>
void for_directions(Team& team, const Sharing& sharing, index directions, const Body& body) {
    if (sharing.apart && team.size() % 2 == 0) {
        Team half = team.part(2);
        body(half, team.rank() / half.size());
    } else {
        for (index d = 0; d < directions; ++d) body(team, d);
    }
}

}  // namespace fastrnn
