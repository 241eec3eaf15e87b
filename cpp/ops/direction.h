// What the forward and the backward pass of one layer in one direction share: its numbers, and
// where its states lie.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/sharing.h"

namespace fastrnn {

template <class T>
class Direction {
protected:
    Direction(const Plan& plan, const Kernels& kernels, const Sharing& sharing, index input,
              const T* h0)
        : schedule_(plan.schedule),
          sharing_(sharing),
          table_(kernel_table<T>(kernels)),
          cell_(table_.cell[static_cast<int>(plan.shape.cell)]),
          L_(table_.lanes),
          hidden_(plan.shape.hidden_size),
          input_(input),
          units_(ceil_div(hidden_, L_)),
          width_(cell_.slots * L_),
          h0_(h0),
          h0_offset_(static_cast<std::size_t>(schedule_.batch), 0) {
        for (std::size_t i = 0; h0 && i < h0_offset_.size(); ++i) {
            h0_offset_[i] = schedule_.order[i] * hidden_;
        }
        if (!h0) {
            zeros_ = Buffer<T>(hidden_);
            std::fill_n(zeros_.data(), hidden_, T(0));
            h0_ = zeros_.data();
        }
    }

    // h_{s-1} of sequence i lies at h_before(...) + offset[i].
    template <class Pointer>
    const T* h_before(index s, const TimeView<Pointer>& h, const index*& offset) const {
        offset = s > 0 ? h.offset(s - 1) : h0_offset_.data();
        return s > 0 ? h.at(s - 1) : h0_;
    }

    // bias + W_ih x of some tokens for the units unit_begin .. unit_end, which begin on a panel:
    // token k's row of x lies at x + x_offset[k], its gates at gates + gates_offset[k] in each
    // register of units.
    void input_product(const PackedLayer<T>& weights, const T* x,
                       const std::vector<index>& x_offset, index unit_begin, index unit_end,
                       T* gates, const std::vector<index>& gates_offset, index unit_stride) const {
        ProductArgs<T> p;
        p.rows = static_cast<index>(x_offset.size());
        p.a = x, p.a_offset = x_offset.data(), p.run = input_;
        p.b = weights.w_ih.data() + unit_begin * cell_.gates * L_ * input_;
        p.vectors = (unit_end - unit_begin) * cell_.gates, p.panel = cell_.panel;
        p.c = gates + unit_begin * unit_stride + cell_.x_slot * L_,
        p.c_offset = gates_offset.data();
        p.group = cell_.gates, p.group_stride = unit_stride;
        p.columns = p.vectors * L_;
        p.start = weights.start.data() + unit_begin * cell_.gates * L_;
        table_.product(p);
    }

    index unit_grain() const { return cell_.panel / cell_.gates; }  // a panel's registers of units

    index token_in_chunk(index s) const {
        return schedule_.first_token[s] -
               schedule_.first_token[schedule_.chunk_begin(s / schedule_.chunk_steps)];
    }

    // Step s of an array that keeps every step, [U][tokens of a chunk][row].
    T* kept(T* array, const ChunkLayout& layout, index s, index row, index& unit_stride) const {
        const index c = s / schedule_.chunk_steps;
        unit_stride = layout.unit_stride[c];
        return array + layout.base[c] + token_in_chunk(s) * row;
    }

    // A member's part of a state: from the caller's [B, H] (null: zeros) to [U][B][L], and back.
    void read_state(const Share& share, const T* from, T* to) const {
        for (index unit = share.unit_begin * L_; unit < share.unit_end * L_; ++unit) {
            for (const index i : share.row) {
                to[state_place(unit, i)] =
                    from && unit < hidden_ ? from[schedule_.order[i] * hidden_ + unit] : T(0);
            }
        }
    }
    void write_state(const Share& share, const T* from, T* to) const {
        for (index unit = share.unit_begin * L_; unit < smaller(hidden_, share.unit_end * L_);
             ++unit) {
            for (const index i : share.row) {
                to[schedule_.order[i] * hidden_ + unit] = from[state_place(unit, i)];
            }
        }
    }

    index state_size() const { return units_ * schedule_.batch * L_; }  // [U][B][L]

    const Schedule& schedule_;
    const Sharing sharing_;
    const KernelTable<T>& table_;
    const CellKernels<T>& cell_;
    const index L_, hidden_, input_, units_;
    const index width_;  // elements of a sequence's gates in one register of units
    const T* h0_;        // sequence i: H elements from h0_ + h0_offset_[i]
    std::vector<index> h0_offset_;

private:
    index state_place(index unit, index i) const {
        return (unit / L_ * schedule_.batch + i) * L_ + unit % L_;
    }
    Buffer<T> zeros_;
};

}  // namespace fastrnn
