// The forward time loop of one layer in one direction, once for all cells.
#pragma once

#include "ops/direction.h"
#include "ops/weights.h"

namespace fastrnn {

// Bytes of the gates that a member computes ahead of the time loop, so that they are still in its
// cache when used, and the rows below which the input's product would not fill its tiles.
constexpr index ahead_bytes = 256 << 10, ahead_rows = 48;

// Bytes of the input's weights that a member reads at every step as fast as it multiplies.
constexpr index most_reread_bytes = 2 << 20;

// The share of different rows up to which products that tokens share are fewer by enough to pay
// for going through memory.
constexpr double most_rows_shared = 0.75;

// Bytes of the weights that a step of one row takes from both products in turn.
constexpr index block_bytes = 192 << 10;

// One layer in one direction.
template <class T>
struct ForwardDirectionCall {
    Tensor3<const T> x;
    RowIndex x_rows;
    Tensor3<T> output, cells;
    const T *h0, *c0;
    T *hn, *cn;
    index input;
    bool reverse;
    index turn;  // as in ForwardCall
};

template <class T>
class DirectionForward : Direction<T> {
    using Direction<T>::schedule_, Direction<T>::sharing_, Direction<T>::table_,
        Direction<T>::cell_;
    using Direction<T>::L_, Direction<T>::hidden_, Direction<T>::input_, Direction<T>::units_;
    using Direction<T>::width_, Direction<T>::unit_grain;

public:
    DirectionForward(const Plan& plan, const Kernels& kernels, const Sharing& sharing,
                     const ForwardDirectionCall<T>& call)
        : Direction<T>(plan, kernels, sharing, call.input, call.h0),
          call_(call),
          shares_products_(call.x_rows &&
                           static_cast<double>(call.x_rows.rows) <
                               most_rows_shared * static_cast<double>(schedule_.tokens())),
          x_(call.x, schedule_, call.reverse, shares_products_ ? RowIndex{} : call.x_rows),
          h_(call.output, schedule_, call.reverse),
          cells_(call.cells, schedule_, call.reverse) {
        const index rows = ceil_div(larger(1, schedule_.batch), sharing.groups);
        const index token_bytes = units_ * width_ * static_cast<index>(sizeof(T));
        const index tokens = larger(ahead_rows, ahead_bytes / token_bytes);
        ahead_steps_ =
            larger(1, smaller(smaller(tokens / rows, schedule_.chunk_steps), schedule_.steps));
        const index unit_bytes = cell_.gates * L_ * (input_ + hidden_) * index{sizeof(T)};
        block_units_ = round_up(ceil_div(block_bytes, unit_bytes), unit_grain() * cell_.row_panels);
        if (cell_.has_c) c_start_ = Buffer<T>(this->state_size());
        if (shares_products_) {
            token_row_ = call.x_rows.of_tokens(schedule_, call.reverse);
            row_stride_ = ChunkLayout::padded(call.x_rows.rows * width_, sizeof(T));
            row_gates_ = Buffer<T>(units_ * row_stride_);
        }
    }

    // Inference: one set of gates, overwritten as time goes on, and one c.
    void use_scratch() {
        scratch_stride_ = ChunkLayout::padded(ahead_steps_ * schedule_.batch * width_, sizeof(T));
        scratch_ = Buffer<T>(units_ * scratch_stride_);
    }

    // Training: gates and c, where the backward pass will find them, as far as they are kept.
    void use_cache(const Cache<T>& cache, std::size_t which) {
        gates_layout_ = &cache.gates_layout;
        c_layout_ = &cache.c_layout;
        gates_ = cache.gates[which].data();
        (cache.checkpoints ? checkpoints_ : c_) = cache.c[which].data();
        if (!gates_) use_scratch();
    }

    void use_packed(const PackedLayer<T>& packed) { packed_ = &packed; }

    // Fills what use_packed() was given.
    void pack(Team& team, const LayerWeights<const T>& weights) {
        const Team::Range range = units_of_member(sharing_, team, units_, unit_grain());
        pack_layer(table_, cell_, weights, hidden_, input_, range.begin, range.end, *packed_);
        // By units alone, the members read only what they packed themselves.
        if (sharing_.groups > 1) team.barrier();
    }

    void run(Team& team) {
        Share share(team, sharing_, schedule_, units_, unit_grain());
        if (cell_.has_c) this->read_state(share, call_.c0, c_start_.data());
        thread_local typename Direction<T>::InputRows tokens;  // not allocated by every call
        const bool together = takes_input(share);
        const bool ahead = !together && !shares_products_;
        if (shares_products_) products_of_rows(team, share);
        const auto start = team.busy_time();
        for (index s = 0; s < schedule_.steps;) {
            const index chunk = s / schedule_.chunk_steps;
            const index end =
                smaller(s + ahead_steps_,
                        gates_ || checkpoints_ ? schedule_.chunk_end(chunk) : schedule_.steps);
            if (checkpoints_ && s == schedule_.chunk_begin(chunk)) keep_checkpoint(share, chunk);
            const bool alone = ahead && end - s == 1 && share.row.size() == 1;
            if (!team.cancelled() && ahead) {
                find_tokens(share, s, end, tokens);
                if (!alone) input_part(s, tokens, share.unit_begin, share.unit_end);
            }
            for (const index begin = s; s < end; ++s) {
                if (!team.cancelled()) {
                    if (alone) {
                        step_with_input(share, s, tokens);
                    } else {
                        cell_.forward(step_args(share, s, begin, together));
                    }
                }
                if (s + 1 < schedule_.steps) share.group.barrier();
            }
            team.poll();
        }
        team.note_pace(share.comparable_work(), team.busy_time() - start);
        finish(share);  // of this member's own units
    }

private:
    // The gates of step s. `begin` is the first step computed ahead with it.
    GateRows<T> gates_at(index s, index begin) const {
        if (gates_) return this->kept_gates(gates_, *gates_layout_, s);
        return {scratch_.data(), scratch_stride_, (s - begin) * schedule_.batch,
                this->narrow_width_};
    }

    T* c_at(index s, index& unit_stride) const {
        if (c_ && s >= 0) return this->kept(c_, *c_layout_, s, L_, unit_stride);
        unit_stride = schedule_.batch * L_;
        return c_start_.data();
    }

    // This member's tokens of the steps begin .. end - 1.
    void find_tokens(const Share& share, index begin, index end,
                     typename Direction<T>::InputRows& tokens) {
        tokens.x.clear(), tokens.gates.clear(), tokens.narrow_gates.clear();
        for (index s = begin; s < end; ++s) {
            const index first = gates_at(s, begin).first, rows = share.rows(schedule_.active[s]);
            for (index j = 0; j < rows; ++j) {
                const index i = share.row[j];
                this->add_row(tokens, x_.start(s) + x_.offset(s)[i], first + i);
            }
        }
    }

    // The input's part of some tokens, the first of which is of step `begin`.
    void input_part(index begin, const typename Direction<T>::InputRows& tokens, index unit_begin,
                    index unit_end, bool back_to_front = false) {
        this->input_product(*packed_, x_.base, tokens, unit_begin, unit_end, gates_at(begin, begin),
                            back_to_front);
    }

    // The input's part of every row that tokens share, for all members that have this one's units.
    void products_of_rows(Team& team, const Share& share) {
        const int groups = team.size() / share.group.size();
        const Team::Range range =
            Team::split(call_.x_rows.rows, 1, team.rank() / share.group.size(), groups);
        typename Direction<T>::InputRows rows;
        for (index row = range.begin; row < range.end; ++row)
            this->add_row(rows, row * call_.x.batch_stride, row);
        if (!team.cancelled())
            this->input_product(*packed_, call_.x.data, rows, share.unit_begin, share.unit_end,
                                {row_gates_.data(), row_stride_, 0, this->narrow_width_});
        if (groups > 1) team.barrier();
    }

    // A step of one row, whose input's part was not computed ahead: some units of both products at
    // a time, so that the steps walk to and fro over all of the weights.
    void step_with_input(const Share& share, index s,
                         const typename Direction<T>::InputRows& tokens) {
        ForwardStep<T> a = step_args(share, s, s, false);
        const index first = share.unit_begin, units = share.unit_end - first;
        const index blocks = ceil_div(units, block_units_);
        for (index i = 0; i < blocks; ++i) {
            a.unit_begin = first + (a.back_to_front ? blocks - 1 - i : i) * block_units_;
            a.unit_end = smaller(share.unit_end, a.unit_begin + block_units_);
            a.weight = recurrent_weights(a.unit_begin);
            input_part(s, tokens, a.unit_begin, a.unit_end, a.back_to_front);
            cell_.forward(a);
        }
    }

    // This member's part of the c that a chunk begins with.
    void keep_checkpoint(const Share& share, index chunk) {
        T* const to = checkpoints_ + chunk * this->state_size();
        for (index u = share.unit_begin; u < share.unit_end; ++u) {
            for (const index i : share.row) {
                const index place = (u * schedule_.batch + i) * L_;
                std::copy_n(c_start_.data() + place, L_, to + place);
            }
        }
    }

    // Whether a step makes both products, the input's and the recurrent one: the first one's sums
    // then wait in registers, not in memory (of the GRU those that both share). Made ahead, it
    // reads its weights once for several steps, which counts where they come from far.
    bool takes_input(const Share& share) const {
        const index units = share.unit_end - share.unit_begin;
        const index bytes = units * cell_.gates * L_ * input_ * index{sizeof(T)};
        return share.row.size() > 1 && !shares_products_ &&
               (ahead_steps_ == 1 || bytes <= most_reread_bytes);
    }

    const T* recurrent_weights(index unit) const {
        return packed_->w_hh.data() + unit * cell_.gates * L_ * hidden_;
    }

    ForwardStep<T> step_args(const Share& share, index s, index begin, bool with_input) {
        ForwardStep<T> a;
        a.rows = share.rows(schedule_.active[s]);
        a.row = share.row.data();
        a.unit_begin = share.unit_begin, a.unit_end = share.unit_end;
        a.hidden = hidden_;
        a.weight = recurrent_weights(share.unit_begin);
        a.back_to_front = share.row.size() == 1 && (call_.turn + s) % 2 != 0;
        a.candidate_bias = packed_->candidate_bias.data();
        if (with_input) {
            a.x = x_.at(s), a.x_offset = x_.offset(s), a.inputs = input_;
            a.x_weight = packed_->w_ih.data() + share.unit_begin * cell_.gates * L_ * input_;
            a.bias = packed_->bias.data();
        }
        a.h_prev = this->h_before(s, h_, a.h_prev_offset);
        a.h = h_.at(s), a.h_offset = h_.offset(s);
        a.gates = gates_at(s, with_input ? s : begin);
        if (shares_products_) {
            a.input = {row_gates_.data(), row_stride_, 0, this->narrow_width_};
            a.input_row = token_row_.data() + schedule_.first_token[s];
        }
        a.keep = gates_ != nullptr;
        if (cell_.has_c) {
            a.c_prev = c_at(s - 1, a.c_prev_stride);
            a.c = c_at(s, a.c_stride);
            a.cells = cells_.at(s), a.cells_offset = cells_.offset(s);
        }
        return a;
    }

    // The final states.
    void finish(const Share& share) {
        const index column = share.unit_begin * L_, end = smaller(hidden_, share.unit_end * L_);
        if (column >= end) return;
        for (const index i : share.row) {
            const index row = schedule_.order[i], length = schedule_.length[i];
            const index* offset;
            const T* last = this->h_before(length, h_, offset) + offset[i];
            std::copy(last + column, last + end, call_.hn + row * hidden_ + column);
            if (call_.cn) {
                index unit_stride;
                const T* c = c_at(length - 1, unit_stride) + i * L_;
                for (index u = share.unit_begin; u < share.unit_end; ++u) {
                    std::copy_n(c + u * unit_stride, this->units_in(u),
                                call_.cn + row * hidden_ + u * L_);
                }
            }
        }
    }

    const ForwardDirectionCall<T> call_;
    const bool shares_products_;  // the input's, between the tokens that have one row
    const TimeView<const T> x_;   // if not
    const TimeView<T> h_, cells_;
    Buffer<T> c_start_, scratch_;
    std::vector<index> token_row_;  // if so, each token's row
    Buffer<T> row_gates_;           // [U][rows][slots][L] the input's part of each
    index row_stride_ = 0;          // from one register of units to the next
    index ahead_steps_, scratch_stride_ = 0;
    index block_units_;  // that a step of one row takes at a time
    const PackedLayer<T>* packed_ = nullptr;
    const ChunkLayout* gates_layout_ = nullptr;
    const ChunkLayout* c_layout_ = nullptr;
    T* gates_ = nullptr;
    T* c_ = nullptr;
    T* checkpoints_ = nullptr;
};

}  // namespace fastrnn
