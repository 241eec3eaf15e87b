// What the forward and the backward pass of one layer in one direction share: its numbers, and
// where its states lie.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/sharing.h"

namespace fastrnn {

// The width of the panels of n registers, `most` or less: the narrowest that makes no more of them,
// so that the last one, which gets what is left, is seldom narrow, where a product is slow.
inline index even_panel(index n, index most) {
    return larger(1, ceil_div(n, larger(1, ceil_div(n, most))));
}

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
          narrow_width_(narrow_width(cell_, L_, hidden_)),
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

    // Tokens: where each has its row of x, and its gates in a register of units.
    struct InputRows {
        std::vector<index> x, gates, narrow_gates;
    };
    void add_row(InputRows& rows, index x_offset, index gates_row) const {
        rows.x.push_back(x_offset);
        rows.gates.push_back(gates_row * width_);
        if (narrow_width_) rows.narrow_gates.push_back(gates_row * narrow_width_);
    }

    // bias + W_ih x of some tokens for the units unit_begin .. unit_end, which begin on a panel.
    void input_product(const PackedLayer<T>& weights, const T* x, const InputRows& rows,
                       index unit_begin, index unit_end, const GateRows<T>& gates,
                       bool back_to_front = false) const {
        const bool narrow = narrow_width_ && unit_end == units_ && unit_begin < unit_end;
        const index whole_end = unit_end - narrow;
        ProductArgs<T> p;
        p.rows = static_cast<index>(rows.x.size());
        p.a = x, p.a_offset = rows.x.data(), p.run = input_;
        p.back_to_front = back_to_front;
        const auto product = [&](index unit, index slot_width, const std::vector<index>& offsets) {
            p.b = weights.w_ih.data() + unit * cell_.gates * L_ * input_;
            p.c = gates.data + unit * gates.unit_stride + cell_.x_slot * slot_width;
            p.c_offset = offsets.data();
            p.start = weights.bias.data() + unit * cell_.gates * L_;
            table_.product(p);
        };
        p.vectors = (whole_end - unit_begin) * cell_.gates, p.panel = cell_.panel;
        p.group = cell_.gates, p.group_stride = gates.unit_stride;
        p.columns = p.vectors * L_;
        product(unit_begin, L_, rows.gates);
        if (!narrow) return;
        const index n = hidden_ % L_;
        p.columns = cell_.gates * n;
        p.vectors = p.panel = p.group = ceil_div(p.columns, L_);
        product(whole_end, n, rows.narrow_gates);
    }

    // K of a product with the gradients of the gates: all gates of the registers of units, and of
    // the last, where it is not full, only the units that exist.
    void sum_over_gates(ProductArgs<T>& p) const {
        p.run = cell_.gates * L_, p.runs = hidden_ / L_;
        p.tail = hidden_ % L_, p.tails = p.tail ? cell_.gates : 0, p.tail_stride = L_;
    }
    index gate_terms() const { return hidden_ * cell_.gates; }  // that K

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

    // The gates of step s in such an array.
    GateRows<T> kept_gates(T* array, const ChunkLayout& layout, index s) const {
        const index c = s / schedule_.chunk_steps;
        return {array + layout.base[c], layout.unit_stride[c], token_in_chunk(s), narrow_width_};
    }

    // A member's part of a state: from the caller's [B, H] (null: zeros) to [U][B][L], and back.
    void read_state(const Share& share, const T* from, T* to) const {
        for (index u = share.unit_begin; u < share.unit_end; ++u) {
            const index n = from ? units_in(u) : 0;
            for (const index i : share.row) {
                T* const place = to + (u * schedule_.batch + i) * L_;
                if (n > 0) std::copy_n(from + schedule_.order[i] * hidden_ + u * L_, n, place);
                std::fill(place + n, place + L_, T(0));
            }
        }
    }
    void write_state(const Share& share, const T* from, T* to) const {
        for (index u = share.unit_begin; u < share.unit_end; ++u) {
            for (const index i : share.row) {
                std::copy_n(from + (u * schedule_.batch + i) * L_, units_in(u),
                            to + schedule_.order[i] * hidden_ + u * L_);
            }
        }
    }
    // The units that exist of register u.
    index units_in(index u) const { return smaller(L_, hidden_ - u * L_); }

    index state_size() const { return units_ * schedule_.batch * L_; }  // [U][B][L]

    const Schedule& schedule_;
    const Sharing sharing_;
    const KernelTable<T>& table_;
    const CellKernels<T>& cell_;
    const index L_, hidden_, input_, units_;
    // Elements of a row of gates in one register of units, and in a narrow one.
    const index width_, narrow_width_;
    const T* h0_;  // sequence i: H elements from h0_ + h0_offset_[i]
    std::vector<index> h0_offset_;

private:
    Buffer<T> zeros_;
};

}  // namespace fastrnn
