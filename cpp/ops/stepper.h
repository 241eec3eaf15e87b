// One time step after another, the state carried in between: what a stream needs. A step of a small
// network takes a microsecond, so nothing is planned or allocated that the last step had already.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
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
    // whoever has this one may be waiting for the interpreter's: to hear of signals. A signal's
    // handler that runs within a step would wait for itself.
    std::unique_lock<std::mutex> try_lock() {
        refuse_within_a_step();
        return {mutex_, std::try_to_lock};
    }
    std::unique_lock<std::mutex> lock() {
        refuse_within_a_step();
        return std::unique_lock<std::mutex>(mutex_);
    }

    // All that follows: under the lock.

    // x: [B, I], rows x_stride apart; h: [B, H], of the last layer. The state must be empty or have
    // B rows.
    void step(index batch, const T* x, index x_stride, T* h) {
        if (!ready_ || batch != ready_->plan.shape.batch) use(batch);
        Ready& r = *ready_;
        if (r.threads != threads_at_hand()) prepare(r);
        for (index i = 0; i < batch; ++i)
            std::copy_n(x + i * x_stride, input_size(), r.x.data() + i * input_size());
        {
            const Stepping stepping(stepping_);
            r.pass[r.now]->run();
        }
        std::copy_n(r.output.data(), batch * hidden_size(), h);
        r.now = 1 - r.now;
        carrying_ = true;
    }

    void forget() {
        if (ready_) clear(*ready_);
        carrying_ = false;
    }
    // h, c: [layers, B, H]
    void carry(index batch, const T* h, const T* c) {
        use(batch);
        Ready& r = *ready_;
        std::copy_n(h, state_size(batch), r.h[r.now].data());
        if (has_c()) std::copy_n(c, state_size(batch), r.c[r.now].data());
        carrying_ = true;
    }

    // Whether there is a state; only then may the others be asked.
    bool carrying() const { return carrying_; }
    index batch() const { return ready_->plan.shape.batch; }
    std::vector<T> h() const { return copy_of(ready_->h[ready_->now]); }
    std::vector<T> c() const { return copy_of(ready_->c[ready_->now]); }
    bool brief() const { return ready_->pass[ready_->now]->brief(); }  // of a step from here

    // These never change.
    bool has_c() const {
        return kernel_table<T>(weights_.kernels).cell[static_cast<int>(shape_.cell)].has_c;
    }
    index input_size() const { return shape_.input_size; }
    index hidden_size() const { return shape_.hidden_size; }
    index layers() const { return shape_.layers; }

private:
    // What steps of one batch size need, the state among it.
    struct Ready {
        explicit Ready(const RecurrentShape& shape) : plan(shape, nullptr) {}
        const Plan plan;
        Buffer<T> x, output;
        Buffer<T> h[2], c[2];  // [layers, B, H], in turn
        std::unique_ptr<ForwardPass<T>> pass[2];
        int threads = 0;
        int now = 0;
    };

    // The thread that is within a step.
    using Thread = std::atomic<std::thread::id>;
    struct Stepping {
        explicit Stepping(Thread& thread) : thread(thread) {
            thread.store(std::this_thread::get_id(), std::memory_order_relaxed);
        }
        ~Stepping() { thread.store(std::thread::id(), std::memory_order_relaxed); }
        Thread& thread;
    };
    void refuse_within_a_step() const {
        if (stepping_.load(std::memory_order_relaxed) == std::this_thread::get_id())
            throw std::runtime_error("this stepper is within a step, which a signal interrupted");
    }

    // Without memory for all of it, what there was stays as it is.
    void use(index batch) {
        RecurrentShape shape = shape_;
        shape.batch = batch;
        auto r = std::make_unique<Ready>(shape);
        r->x = Buffer<T>(batch * input_size());
        r->output = Buffer<T>(batch * hidden_size());
        for (int i = 0; i < 2; ++i) {
            r->h[i] = Buffer<T>(state_size(batch));
            if (has_c()) r->c[i] = Buffer<T>(state_size(batch));
        }
        clear(*r);
        prepare(*r);
        ready_ = std::move(r);
        carrying_ = false;
    }

    // One pass for each turn, from one state to the other.
    void prepare(Ready& r) const {
        const int threads = threads_at_hand();
        ForwardCall<T> call;
        call.x = {r.x.data(), 0, input_size()};
        call.packed = &weights_;
        call.output = {r.output.data(), 0, hidden_size()};
        std::unique_ptr<ForwardPass<T>> pass[2];
        for (int from : {0, 1}) {
            call.h0 = r.h[from].data(), call.hn = r.h[1 - from].data();
            call.c0 = r.c[from].data(), call.cn = r.c[1 - from].data();
            call.turn = from;
            pass[from] = std::make_unique<ForwardPass<T>>(r.plan, call);
        }
        std::swap(r.pass, pass);
        r.threads = threads;
    }

    void clear(Ready& r) const {
        const index size = state_size(r.plan.shape.batch);
        std::fill_n(r.h[r.now].data(), size, T(0));
        if (has_c()) std::fill_n(r.c[r.now].data(), size, T(0));
    }
    std::vector<T> copy_of(const Buffer<T>& state) const {
        return {state.data(), state.data() + state_size(batch())};
    }
    index state_size(index batch) const { return shape_.layers * batch * shape_.hidden_size; }

    RecurrentShape shape_;  // of any batch size
    const PackedStack<T>& weights_;
    std::unique_ptr<Ready> ready_;
    bool carrying_ = false;
    std::mutex mutex_;
    Thread stepping_{};
};

}  // namespace fastrnn
