// One time step after another, the state carried in between: what a stream needs. A step of a small
// network takes a microsecond, so nothing is planned or allocated that the last step had already.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>

#include "ops/forward_pass.h"

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
        if (batch != shape_.batch || !plan_) use(batch);
        if (threads_ != threads_at_hand()) prepare();
        for (index i = 0; i < batch; ++i)
            std::copy_n(x + i * x_stride, shape_.input_size, x_.data() + i * shape_.input_size);
        pass_[now_]->run();
        std::copy_n(output_.data(), batch * shape_.hidden_size, h);
        now_ = 1 - now_;
        carry_on();
    }

    void forget() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (plan_) clear();
    }
    // h, c: [layers, B, H]
    void carry(index batch, const T* h, const T* c) {
        const std::lock_guard<std::mutex> lock(mutex_);
        use(batch);
        std::copy_n(h, state_size(), h_[now_].data());
        if (has_c()) std::copy_n(c, state_size(), c_[now_].data());
        carry_on();
    }
    void read(T* h, T* c) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::copy_n(h_[now_].data(), state_size(), h);
        if (has_c()) std::copy_n(c_[now_].data(), state_size(), c);
    }

    bool carrying() const { return carrying_; }
    // Whether there is a state, and a step from it takes no longer than some 10 us.
    bool brief() const { return brief_; }
    bool has_c() const { return shape_.cell == Cell::lstm; }
    const RecurrentShape& shape() const { return shape_; }  // its batch is that of the state

private:
    void use(index batch) {
        shape_.batch = batch;
        plan_ = std::make_unique<Plan>(shape_, nullptr);
        x_ = Buffer<T>(batch * shape_.input_size);
        output_ = Buffer<T>(batch * shape_.hidden_size);
        for (int i = 0; i < 2; ++i) {
            h_[i] = Buffer<T>(state_size());
            if (has_c()) c_[i] = Buffer<T>(state_size());
        }
        clear();
        prepare();
    }

    // One pass for each turn, from one state to the other.
    void prepare() {
        threads_ = threads_at_hand();
        ForwardCall<T> call;
        call.x = {x_.data(), 0, shape_.input_size};
        call.packed = &weights_;
        call.output = {output_.data(), 0, shape_.hidden_size};
        for (int from : {0, 1}) {
            call.h0 = h_[from].data(), call.hn = h_[1 - from].data();
            call.c0 = c_[from].data(), call.cn = c_[1 - from].data();
            call.turn = from;
            pass_[from] = std::make_unique<ForwardPass<T>>(*plan_, call);
        }
    }

    void carry_on() {
        carrying_ = true;
        brief_ = pass_[now_]->work() < 1e6;
    }
    void clear() {
        std::fill_n(h_[now_].data(), state_size(), T(0));
        if (has_c()) std::fill_n(c_[now_].data(), state_size(), T(0));
        carrying_ = brief_ = false;
    }
    index state_size() const { return shape_.layers * shape_.batch * shape_.hidden_size; }

    RecurrentShape shape_;
    const PackedStack<T>& weights_;
    std::unique_ptr<Plan> plan_;
    Buffer<T> x_, output_;
    Buffer<T> h_[2], c_[2];  // [layers, B, H], in turn
    std::unique_ptr<ForwardPass<T>> pass_[2];
    int threads_ = 0;
    int now_ = 0;
    std::atomic<bool> carrying_{false}, brief_{false};  // asked while another thread may step
    std::mutex mutex_;
};

}  // namespace fastrnn
