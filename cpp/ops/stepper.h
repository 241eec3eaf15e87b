// One time step after another, the state carried in between: what a stream needs. A step of a small
// network takes a microsecond, so nothing is planned or allocated that the last step had already.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

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

    // Several threads may use one. Who has the interpreter's lock must not wait for this one, since
    // whoever has this one may be waiting for the interpreter's: to hear of signals.
    std::unique_lock<std::mutex> try_lock() { return {mutex_, std::try_to_lock}; }
    std::unique_lock<std::mutex> lock() { return std::unique_lock<std::mutex>(mutex_); }

    // All that follows: under the lock.

    // x: [B, I], rows x_stride apart; h: [B, H], of the last layer. The state must be empty or have
    // B rows.
    void step(index batch, const T* x, index x_stride, T* h) {
        if (batch != shape_.batch || !plan_) use(batch);
        if (threads_ != threads_at_hand()) prepare();
        for (index i = 0; i < batch; ++i)
            std::copy_n(x + i * x_stride, shape_.input_size, x_.data() + i * shape_.input_size);
        pass_[now_]->run();
        std::copy_n(output_.data(), batch * shape_.hidden_size, h);
        now_ = 1 - now_;
        carrying_ = true;
    }

    void forget() {
        if (plan_) clear();
    }
    // h, c: [layers, B, H]
    void carry(index batch, const T* h, const T* c) {
        use(batch);
        std::copy_n(h, state_size(), h_[now_].data());
        if (has_c()) std::copy_n(c, state_size(), c_[now_].data());
        carrying_ = true;
    }
    std::vector<T> h() const { return copy_of(h_[now_]); }
    std::vector<T> c() const { return copy_of(c_[now_]); }

    bool carrying() const { return carrying_; }
    index batch() const { return shape_.batch; }  // of the state
    // Whether there is a state, and a step from it takes no longer than some 10 us.
    bool brief() const { return carrying_ && pass_[now_]->work() < 1e6; }

    // These never change.
    bool has_c() const { return shape_.cell == Cell::lstm; }
    index input_size() const { return shape_.input_size; }
    index hidden_size() const { return shape_.hidden_size; }
    index layers() const { return shape_.layers; }

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

    void clear() {
        std::fill_n(h_[now_].data(), state_size(), T(0));
        if (has_c()) std::fill_n(c_[now_].data(), state_size(), T(0));
        carrying_ = false;
    }
    std::vector<T> copy_of(const Buffer<T>& state) const {
        return {state.data(), state.data() + state_size()};
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
    bool carrying_ = false;
    std::mutex mutex_;
};

}  // namespace fastrnn
