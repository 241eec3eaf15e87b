// The backward pass of a stack: the forward pass's layers and directions in reverse, all in one
// parallel region.
#pragma once

#include "ops/direction_backward.h"
#include "ops/stack.h"

namespace fastrnn {

template <class T>
class BackwardPass {
public:
    // All that is given must outlive this.
    BackwardPass(const Plan& plan, const Cache<T>& cache, const BackwardCall<T>& call);
    void run();

private:
    BackwardDirectionCall<T> direction_call(index layer, index direction) const;

    // In the parallel region, in this order.
    void drop_again(Team& team, index layer) const;
    void finish_gradient_of_output(Team& team, index layer) const;
    void finish_gradient_of_input(Team& team) const;

    // [T, B, D * H] of an inner layer: its output, and what the next one has for an input.
    Tensor3<T> output_of(index layer) const {
        return output_in(cache_.layer_output, plan_.shape, layer);
    }
    Tensor3<T> handed_on(index layer) const {
        if (!plan_.shape.drops()) return output_of(layer);
        return output_in(dropped_.empty() ? cache_.layer_dropped : dropped_, plan_.shape, layer);
    }
    Tensor3<T> gradient_of_output(index layer) const {
        return output_in(between_, plan_.shape, layer);
    }
    // The first layer's input after dropout.
    Tensor3<T> input_of(index direction) const {
        return input_in(inputs_.empty() ? cache_.input_dropped : inputs_, plan_.shape, direction);
    }
    Tensor3<T> reverse_dx_of(index layer) const;

    const Plan& plan_;
    const Cache<T>& cache_;
    const BackwardCall<T>& call_;
    const KernelTable<T>& table_;
    const Sharing sharing_;
    std::vector<BackwardWorkspace<T>> work_;  // of each half of the team, or of the whole
    std::vector<Buffer<T>> between_;          // the gradients between layers, in turn
    // Where the cache does not keep them: what dropout made of the outputs, one after another, and
    // of the input.
    std::vector<Buffer<T>> dropped_, inputs_;
    // The reverse direction's part of the gradient of a layer's input, added to the forward one's:
    // so neither waits for the other.
    Buffer<T> reverse_dx_;
    std::vector<BackwardDirectionCall<T>> calls_;
    std::vector<DirectionBackward<T>> directions_;
};

}  // namespace fastrnn
