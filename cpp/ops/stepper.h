// One time step after another, the state carried in between: what a stream needs. A step of a small
// network takes a microsecond, so nothing is planned or allocated that the last step had already.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>

#include "ops/recurrent.h"

namespace fastrnn {

template <class T>
class Stepper {
public:
    // `weights` must outlive this; one direction.
    Stepper(const RecurrentShape& shape, const PackedStack<T>& weights)
        : shape_(shape), weights_(weights) {
        shape_.steps = 1, shape_.training = false;
    }

    // x: [B, I], rows x_stride apart; h: [B, H], of the last layer. The state must be empty or have
    // B rows.
    void step(index batch, const T* x, index x_stride, T* h) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!plan_ || plan_->shape.batch != batch) use(batch);
        ForwardCall<T> call;
        call.x = {x, 0, x_stride};
        call.packed = &weights_;
        if (carrying_) call.h0 = h_[now_].data(), call.c0 = has_c() ? c_[now_].data() : nullptr;
        call.output = {h, 0, shape_.hidden_size};
        call.hn = h_[1 - now_].data(), call.cn = has_c() ? c_[1 - now_].data() : nullptr;
        recurrent_forward(*plan_, call);
        now_ = 1 - now_;
        carrying_ = true;
    }

    void forget() {
        const std::lock_guard<std::mutex> lock(mutex_);
        carrying_ = false;
    }
    // h, c: [layers, B, H]
    void carry(index batch, const T* h, const T* c) {
        const std::lock_guard<std::mutex> lock(mutex_);
        use(batch);
        std::copy_n(h, state_size(), h_[now_].data());
        if (has_c()) std::copy_n(c, state_size(), c_[now_].data());
        carrying_ = true;
    }
    void read(T* h, T* c) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::copy_n(h_[now_].data(), state_size(), h);
        if (has_c()) std::copy_n(c_[now_].data(), state_size(), c);
    }

    bool carrying() const { return carrying_; }
    bool has_c() const { return shape_.cell == Cell::lstm; }
    const RecurrentShape& shape() const { return shape_; }  // its batch is that of the state

private:
    void use(index batch) {
        shape_.batch = batch;
        plan_ = std::make_unique<Plan>(shape_, nullptr);
        for (auto* state : {h_, c_})
            for (int i = 0; i < 2; ++i) state[i] = Buffer<T>(state_size());
    }
    index state_size() const { return shape_.layers * shape_.batch * shape_.hidden_size; }

    RecurrentShape shape_;
    const PackedStack<T>& weights_;
    std::unique_ptr<Plan> plan_;
    Buffer<T> h_[2], c_[2];  // [layers, B, H], in turn
    int now_ = 0;
    bool carrying_ = false;
    std::mutex mutex_;
};

}  // namespace fastrnn
