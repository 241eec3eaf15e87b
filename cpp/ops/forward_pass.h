// The forward pass of a stack: layer after layer, direction after direction, all in one parallel
// region.
#pragma once

#include "ops/direction_forward.h"
#include "ops/stack.h"

namespace fastrnn {

// Prepared once, for arrays that stay where they are, and run as often as wanted.
template <class T>
class ForwardPass {
public:
    // `plan` and what `call` points to must outlive this.
    ForwardPass(const Plan& plan, const ForwardCall<T>& call);
    void run();
    // Whether it takes no longer than some 10 us.
    bool brief() const { return sharing_.work < 1e6; }
    std::unique_ptr<Cache<T>> take_cache() { return std::move(cache_); }

private:
    // What lies between the layers, and the dropped inputs.
    Tensor3<T> output_of(index layer) const {
        return output_in(cache_ ? cache_->layer_output : between_, plan_.shape, layer);
    }
    Tensor3<T> dropped_of(index layer) const {
        return output_in(dropped_.empty() ? cache_->layer_dropped : dropped_, plan_.shape, layer);
    }
    Tensor3<T> input_of(index direction) const {
        return input_in(inputs_.empty() ? cache_->input_dropped : inputs_, plan_.shape, direction);
    }

    const Plan& plan_;
    const ForwardCall<T> call_;
    const Kernels kernels_;
    const KernelTable<T>& table_;
    Sharing sharing_;
    std::unique_ptr<Cache<T>> cache_;
    // Where the cache does not keep them: the outputs, in turn, and what dropout makes of them and
    // of the input.
    std::vector<Buffer<T>> between_, dropped_, inputs_;
    std::vector<PackedLayer<T>> packed_;
    std::vector<DirectionForward<T>> directions_;
};

}  // namespace fastrnn
