// What the forward pass of one layer in one direction did not keep, computed again for the backward
// pass, a chunk of time at a time.
//
// The output holds h_{t-1} of every token, so W_hh h_{t-1} is one product over all of a chunk's
// tokens instead of one a step. Only the LSTM's c goes on from step to step, elementwise. Each
// number is made by the forward pass's chain of operations, so it is the same number.
#pragma once

#include "ops/backward_call.h"

namespace fastrnn {

template <class T>
class DirectionRecompute : Direction<T> {
    using Direction<T>::schedule_, Direction<T>::table_, Direction<T>::cell_;
    using Direction<T>::L_, Direction<T>::hidden_, Direction<T>::input_, Direction<T>::units_;
    using Direction<T>::width_, Direction<T>::unit_grain;

public:
    DirectionRecompute(const Plan& plan, const Cache<T>& cache, std::size_t which,
                       const Sharing& sharing, const BackwardWorkspace<T>& work,
                       const BackwardDirectionCall<T>& call)
        : Direction<T>(plan, cache.kernels, sharing, call.input, call.h0),
          weights_(call.weights),
          work_(work),
          checkpoints_(cache.checkpoints ? cache.c[which].data() : nullptr),
          x_(call.x, schedule_, call.reverse, call.x_rows),
          h_(call.output, schedule_, call.reverse) {}

    // Each member some of the weights; to be followed by a barrier.
    void pack(Team& team) const {
        const Team::Range range = team.split(units_, unit_grain());
        pack_layer(table_, cell_, weights_, hidden_, input_, range.begin, range.end,
                   work_.forward_weights);
    }

    // The gates, and c where only that before the chunk was kept, of this member's sequences and
    // units, which may begin anywhere: all cells that keep gates have panels of one register of
    // units.
    void chunk(const Share& share, index c) const {
        const Tokens tokens = find_tokens(share, c);
        // One panel of units after another, whose gates of 1,024 tokens stay in a core's cache from
        // the one product to the next and to the scan of c.
        for (index u = share.unit_begin; u < share.unit_end; u += unit_grain()) {
            const index end = smaller(share.unit_end, u + unit_grain());
            gates(tokens, c, u, end);
            for (index s = schedule_.chunk_begin(c); checkpoints_ && s < schedule_.chunk_end(c);
                 ++s) {
                restore_c(share, s, u, end);
            }
        }
    }

    // Of a step in the chunk that was computed last.
    GateRows<T> gates_at(index s) const {
        return {work_.gates.data(), unit_stride(s, width_), this->token_in_chunk(s),
                this->narrow_width_};
    }
    T* c_at(index s, index& stride) const {
        stride = unit_stride(s, L_);
        return work_.c.data() + this->token_in_chunk(s) * L_;
    }
    const T* c_before(index s, index& unit_stride) const {
        const index c = s / schedule_.chunk_steps;
        if (s > schedule_.chunk_begin(c)) return c_at(s - 1, unit_stride);
        unit_stride = schedule_.batch * L_;
        return checkpoints_ + c * this->state_size();
    }

private:
    index unit_stride(index s, index row) const {
        return ChunkLayout::padded(schedule_.chunk_tokens(s / schedule_.chunk_steps) * row,
                                   sizeof(T));
    }

    // A member's tokens of a chunk, and where they have their x, gates and h.
    struct Tokens {
        std::vector<index> own;
        typename Direction<T>::InputRows input;
        std::vector<index> h_prev_offset;  // of all tokens, by number
        index of_first_step = 0;           // own tokens whose h_{t-1} is h0
    };

    Tokens find_tokens(const Share& share, index c) const {
        Tokens t;
        t.h_prev_offset.resize(static_cast<std::size_t>(schedule_.chunk_tokens(c)));
        for (index s = schedule_.chunk_begin(c); s < schedule_.chunk_end(c); ++s) {
            const index rows = share.rows(schedule_.active[s]);
            const index* before;
            this->h_before(s, h_, before);
            for (index j = 0; j < rows; ++j) {
                const index i = share.row[j], token = this->token_in_chunk(s) + i;
                t.own.push_back(token);
                this->add_row(t.input, x_.start(s) + x_.offset(s)[i], token);
                t.h_prev_offset[token] = before[i] + (s > 0 ? h_.start(s - 1) : 0);
            }
            if (s == 0) t.of_first_step = rows;
        }
        return t;
    }

    void gates(const Tokens& t, index c, index unit_begin, index unit_end) const {
        const PackedLayer<T>& weights = work_.forward_weights;
        RecomputeStep<T> a;
        a.row = t.own.data(), a.rows = static_cast<index>(t.own.size());
        a.unit_begin = unit_begin, a.unit_end = unit_end;
        a.hidden = hidden_;
        a.gates = gates_at(schedule_.chunk_begin(c));
        this->input_product(weights, x_.base, t.input, unit_begin, unit_end, a.gates);
        a.weight = weights.w_hh.data() + unit_begin * cell_.gates * L_ * hidden_;
        a.candidate_bias = weights.candidate_bias.data();
        a.h_prev_offset = t.h_prev_offset.data();
        if (t.of_first_step > 0) {
            a.h_prev = this->h0_, a.rows = t.of_first_step;
            cell_.recompute(a);
            a.row += a.rows, a.rows = static_cast<index>(t.own.size()) - a.rows;
        }
        a.h_prev = h_.base;
        cell_.recompute(a);
    }

    void restore_c(const Share& share, index s, index unit_begin, index unit_end) const {
        RestoreStep<T> a;
        a.rows = share.rows(schedule_.active[s]);
        a.row = share.row.data();
        a.unit_begin = unit_begin, a.unit_end = unit_end;
        a.hidden = hidden_;
        a.gates = gates_at(s);
        a.c_prev = c_before(s, a.c_prev_stride);
        a.c = c_at(s, a.c_stride);
        cell_.restore_c(a);
    }

    const LayerWeights<const T>& weights_;
    const BackwardWorkspace<T>& work_;
    const T* const checkpoints_;
    const TimeView<const T> x_, h_;
};

}  // namespace fastrnn
