// The backward time loop of one layer in one direction, once for all cells.
//
// Time goes by in chunks. A chunk's time loop is serial in t and leaves the gradients of the gates'
// arguments; the products with them (dx, dW_ih, dW_hh) and their sums (db) are then made for the
// whole chunk at once, cut into tasks by output, never by token. Two buffers of gradients take
// turns, so one barrier a chunk is enough.
#pragma once

#include <atomic>
#include <optional>

#include "ops/direction_recompute.h"

namespace fastrnn {

// Per chunk: enough for an even load where a neighbour holds one thread up.
constexpr index dx_tasks_per_thread = 4;

template <class T>
class DirectionBackward : Direction<T> {
    using Direction<T>::schedule_, Direction<T>::sharing_, Direction<T>::table_,
        Direction<T>::cell_;
    using Direction<T>::L_, Direction<T>::hidden_, Direction<T>::input_, Direction<T>::units_;
    using Direction<T>::width_;

public:
    DirectionBackward(const Plan& plan, const Cache<T>& cache, std::size_t which,
                      const Sharing& sharing, index unit_panel, const BackwardWorkspace<T>& work,
                      const BackwardDirectionCall<T>& call)
        : Direction<T>(plan, cache.kernels, sharing, call.input, call.h0),
          call_(call),
          work_(work),
          cache_(cache),
          gates_(cache.gates[which].data()),
          c_(cache.checkpoints ? nullptr : cache.c[which].data()),
          terms_(hidden_ * cell_.gates),
          unit_panel_(unit_panel),
          x_(call.x, schedule_, call.reverse),
          h_(call.output, schedule_, call.reverse),
          doutput_(call.doutput, schedule_, call.reverse),
          dcells_(call.dcells, schedule_, call.reverse),
          dx_(call.dx, schedule_, call.reverse),
          next_task_(static_cast<std::size_t>(schedule_.chunks())) {
        if (plan.shape.recompute != Recompute::none && cell_.keeps_gates)
            recompute_.emplace(plan, cache, which, sharing, work, call);
    }

    void run(Team& team) {
        Share share(team, sharing_, schedule_, units_, unit_panel_);
        prepare(team, share);
        team.barrier();
        std::vector<index> a_offset, c_offset;
        for (const index i : share.row) {
            a_offset.push_back(i * width_ + cell_.h_slot * L_);
            c_offset.push_back(i * L_);
        }
        for (index c = schedule_.chunks() - 1; c >= 0; --c) {
            const auto start = team.busy_time();
            // A member computes what its own steps read: no barrier is needed.
            if (recompute_ && !team.cancelled()) recompute_->chunk(share, c);
            for (index s = schedule_.chunk_end(c) - 1; s >= schedule_.chunk_begin(c); --s) {
                if (!team.cancelled()) {
                    recurrent_product(share, s + 1, a_offset, c_offset);
                    step(share, s);
                }
                share.group.barrier();
            }
            team.note_pace(share.comparable_work(), team.busy_time() - start);
            team.poll();
            if (share.group.size() < team.size()) team.barrier();
            merged_products(team, c);
        }
        if (!team.cancelled()) {
            recurrent_product(share, 0, a_offset, c_offset);
            finish_states(share);
        }
        team.barrier();
        if (team.rank() == 0 && !team.cancelled())
            each_bias([](T& sum, T& gradient) { gradient = sum; });
    }

private:
    // The weights transposed, the states' gradients, zeros where sums begin.
    void prepare(Team& team, const Share& share) {
        PackGates<T> args;
        args.hidden = hidden_, args.gates = cell_.gates;
        args.unit_begin = 0, args.unit_end = units_;
        {
            const Team::Range range = team.split(units_, unit_panel_);
            args.weight = call_.weights.w_hh, args.stride = call_.weights.w_hh_stride,
            args.gate = cell_.h_gate;
            args.panel = unit_panel_, args.packed = work_.w_hh.data() + range.begin * L_ * terms_;
            if (range.begin < range.end) {
                table_.pack_gates_transposed(args, range.begin * L_,
                                             smaller(hidden_, range.end * L_));
            }
        }
        if (dx_.base) {
            const Team::Range range = team.split(ceil_div(input_, L_), table_.product_panel);
            args.weight = call_.weights.w_ih, args.stride = call_.weights.w_ih_stride,
            args.gate = cell_.x_gate;
            args.panel = table_.product_panel,
            args.packed = work_.w_ih.data() + range.begin * L_ * terms_;
            if (range.begin < range.end) {
                table_.pack_gates_transposed(args, range.begin * L_,
                                             smaller(input_, range.end * L_));
            }
        }
        if (recompute_) recompute_->pack(team);
        this->read_state(share, call_.dhn, work_.dh.data());
        if (cell_.has_c) {
            this->read_state(share, call_.dcn, work_.dc.data());
            this->read_state(share, call_.c0, work_.c_start.data());
        }
        if (team.rank() == 0) {
            std::fill_n(work_.bias_sums.data(), units_ * width_, T(0));
            if (call_.accumulate) each_bias([](T& sum, T& gradient) { sum = gradient; });
            if (schedule_.chunks() == 0 &&
                !call_.accumulate) {  // no token: every gradient of a weight is 0
                const index rows = cell_.gates * hidden_;
                if (call_.dweights.w_ih) std::fill_n(call_.dweights.w_ih, rows * input_, T(0));
                if (call_.dweights.w_hh) std::fill_n(call_.dweights.w_hh, rows * hidden_, T(0));
            }
        }
    }

    T* dgates_at(index s, index& unit_stride) const {
        const index c = s / schedule_.chunk_steps;
        unit_stride = ChunkLayout::padded(schedule_.chunk_tokens(c) * width_, sizeof(T));
        return work_.dgates[c % 2].data() + this->token_in_chunk(s) * width_;
    }

    // K of a product with dgates: all gates of the registers of units, and of the last, where it is
    // not full, only the units that exist.
    void sum_over_gates(ProductArgs<T>& p) const {
        p.run = cell_.gates * L_, p.runs = hidden_ / L_;
        p.tail = hidden_ % L_, p.tails = p.tail ? cell_.gates : 0, p.tail_stride = L_;
    }

    GateRows<T> gates_at(index s) const {
        return gates_ ? this->kept_gates(gates_, cache_.gates_layout, s) : recompute_->gates_at(s);
    }

    const T* c_at(index s, index& unit_stride) const {
        if (s >= 0) return this->kept(c_, cache_.c_layout, s, L_, unit_stride);
        unit_stride = schedule_.batch * L_;
        return work_.c_start.data();
    }

    // dh_{s-1} += W_hh^T dgates_s, for the sequences active at step s.
    void recurrent_product(const Share& share, index s, const std::vector<index>& a_offset,
                           const std::vector<index>& c_offset) {
        if (s >= schedule_.steps || share.unit_begin >= share.unit_end) return;
        ProductArgs<T> p;
        p.rows = share.rows(schedule_.active[s]);
        p.a = dgates_at(s, p.run_stride), p.a_offset = a_offset.data();
        sum_over_gates(p);
        p.b = work_.w_hh.data() + share.unit_begin * L_ * terms_;
        p.vectors = share.unit_end - share.unit_begin, p.panel = unit_panel_;
        p.c = work_.dh.data() + share.unit_begin * schedule_.batch * L_,
        p.c_offset = c_offset.data();
        p.group_stride = schedule_.batch * L_;
        p.columns = p.vectors * L_;
        p.fetch = share.group.size() > 1;
        p.add = true;
        p.back_to_front = p.rows == 1 && s % 2 != 0;
        table_.product(p);
    }

    void step(const Share& share, index s) {
        BackwardStep<T> a;
        a.rows = share.rows(schedule_.active[s]);
        a.row = share.row.data();
        a.unit_begin = share.unit_begin, a.unit_end = share.unit_end;
        a.hidden = hidden_;
        a.doutput = doutput_.at(s), a.doutput_offset = doutput_.offset(s);
        a.dcells = dcells_.at(s), a.dcells_offset = dcells_.offset(s);
        a.dh = work_.dh.data(), a.dc = work_.dc.data(), a.state_stride = schedule_.batch * L_;
        if (cell_.keeps_gates) {
            a.gates = gates_at(s);
        } else {
            a.h = h_.at(s), a.h_offset = h_.offset(s);
        }
        if (c_) {
            a.c = c_at(s, a.c_stride);
            a.c_prev = c_at(s - 1, a.c_prev_stride);
        } else if (cell_.has_c) {
            a.c = recompute_->c_at(s, a.c_stride);
            a.c_prev = recompute_->c_before(s, a.c_prev_stride);
        }
        a.h_prev = this->h_before(s, h_, a.h_prev_offset);
        a.dgates = dgates_at(s, a.dgates_stride);
        cell_.backward(a);
    }

    // ---- what a whole chunk gives at once -------------------------------------------------------

    // dW for some of its columns and for some registers of units.
    struct WeightTask {
        bool recurrent;
        index column, columns, unit_begin, unit_end;
    };

    void merged_products(Team& team, index c) {
        const index tokens = schedule_.chunk_tokens(c);
        const index columns = panels_per_task * table_.outer_panel * L_;
        const index x_groups = call_.dweights.w_ih ? ceil_div(input_, columns) : 0;
        const index h_groups = call_.dweights.w_hh ? ceil_div(hidden_, columns) : 0;
        const index groups = x_groups + h_groups;
        // Each part of a group packs the group's panels anew, so there are no more than it takes to
        // give every member one; dx comes last, in small tasks that even out the load.
        const index parts = groups ? smaller(units_, ceil_div(team.size(), groups)) : 0;
        const index weight_tasks = groups * parts;
        const index dx_parts = team.size() == 1 ? 1 : dx_tasks_per_thread * team.size();
        const index dx_tasks = dx_.base ? smaller(dx_parts, ceil_div(tokens, 32)) : 0;
        for_tasks(team, next_task_[static_cast<std::size_t>(c)], 1 + weight_tasks + dx_tasks,
                  [&](index task) {
                      if (task == 0) return bias_sums(c);
                      if (--task < weight_tasks) {
                          const index part = task % parts, group = task / parts;
                          const bool recurrent = group >= x_groups;
                          const index column = (recurrent ? group - x_groups : group) * columns;
                          const index left = (recurrent ? hidden_ : input_) - column;
                          return weight_product(
                              team, c,
                              {recurrent, column, smaller(columns, left), units_ * part / parts,
                               units_ * (part + 1) / parts});
                      }
                      task -= weight_tasks;
                      input_gradient(c, tokens * task / dx_tasks, tokens * (task + 1) / dx_tasks);
                  });
    }

    void bias_sums(index c) {
        if (!call_.dweights.b_ih && !call_.dweights.b_hh) return;
        const index tokens = schedule_.chunk_tokens(c);
        index stride;
        const T* dgates = dgates_at(schedule_.chunk_begin(c), stride);
        for (index u = 0; u < units_; ++u) {
            for (index k = 0; k < tokens; k += terms_in_a_chain) {
                table_.column_sums(dgates + u * stride + k * width_, width_,
                                   smaller(terms_in_a_chain, tokens - k), width_,
                                   work_.bias_sums.data() + u * width_);
            }
        }
    }

    void weight_product(const Team& team, index c, const WeightTask& task) {
        const index panel = table_.outer_panel * L_, tokens = schedule_.chunk_tokens(c);
        T* const packed = work_.panels.data() + team.rank() * panels_per_task * work_.panel_stride;
        const int slot = task.recurrent ? cell_.h_slot : cell_.x_slot;
        const int* gate = task.recurrent ? cell_.h_gate : cell_.x_gate;
        OuterArgs<T> a;
        a.a_stride = width_;
        a.m = cell_.gates * L_, a.width = L_;
        a.c_stride = task.recurrent ? hidden_ : input_;
        a.add = call_.accumulate || c != schedule_.chunks() - 1;
        index stride;
        const T* const dgates = dgates_at(schedule_.chunk_begin(c), stride);
        for (index first = 0; first < tokens; first += terms_in_a_chain, a.add = true) {
            const index end = smaller(tokens, first + terms_in_a_chain);
            a.terms = end - first;
            for (index n = 0; n < task.columns; n += panel) {
                pack_panel(c, task.recurrent, task.column + n, smaller(panel, task.columns - n),
                           first, end, packed + n / panel * work_.panel_stride);
            }
            for (index u = task.unit_begin; u < task.unit_end; ++u) {
                index group_row[4];
                for (int g = 0; g < cell_.gates; ++g) group_row[g] = gate[g] * hidden_ + u * L_;
                a.group_row = group_row;
                a.width_valid = smaller(L_, hidden_ - u * L_);
                a.a = dgates + u * stride + first * width_ + slot * L_;
                for (index n = 0; n < task.columns; n += panel) {
                    a.b = packed + n / panel * work_.panel_stride;
                    a.columns = smaller(panel, task.columns - n),
                    a.vectors = ceil_div(a.columns, L_);
                    a.c = (task.recurrent ? call_.dweights.w_hh : call_.dweights.w_ih) +
                          task.column + n;
                    table_.outer(a);
                }
            }
        }
    }

    // Columns of x (or of h one step earlier) for the tokens first .. end - 1 of a chunk.
    void pack_panel(index c, bool recurrent, index column, index columns, index first, index end,
                    T* packed) {
        const index width = round_up(columns, L_);
        for (index s = schedule_.chunk_begin(c); s < schedule_.chunk_end(c); ++s) {
            const index token = this->token_in_chunk(s);
            const index from = larger(first, token), to = smaller(end, token + schedule_.active[s]);
            if (from >= to) continue;
            const index* offset = x_.offset(s);
            const T* source = recurrent ? this->h_before(s, h_, offset) : x_.at(s);
            table_.pack_rows(source + column, offset + (from - token), to - from, columns, width,
                             packed + (from - first) * width);
        }
    }

    // dx = W_ih^T dgates for the tokens first .. end - 1 of a chunk.
    void input_gradient(index c, index first, index end) {
        std::vector<index> a_offset, c_offset;
        for (index s = schedule_.chunk_begin(c); s < schedule_.chunk_end(c); ++s) {
            const index token = this->token_in_chunk(s);
            for (index k = larger(first, token); k < smaller(end, token + schedule_.active[s]);
                 ++k) {
                a_offset.push_back(k * width_ + cell_.x_slot * L_);
                c_offset.push_back(dx_.start(s) + dx_.offset(s)[k - token]);
            }
        }
        ProductArgs<T> p;
        p.rows = end - first;
        p.a = dgates_at(schedule_.chunk_begin(c), p.run_stride), p.a_offset = a_offset.data();
        sum_over_gates(p);
        p.b = work_.w_ih.data(), p.vectors = ceil_div(input_, L_), p.panel = table_.product_panel;
        p.c = dx_.base, p.c_offset = c_offset.data();
        p.group_stride = L_;
        p.columns = input_;
        table_.product(p);
    }

    // ---- the end --------------------------------------------------------------------------------

    void finish_states(const Share& share) {
        if (call_.dh0) this->write_state(share, work_.dh.data(), call_.dh0);
        if (call_.dc0) this->write_state(share, work_.dc.data(), call_.dc0);
    }

    // body(sum, gradient) for every element of the biases' gradients that is wanted.
    template <class Body>
    void each_bias(const Body& body) {
        const auto each = [&](T* gradient, int slot, const int* gate) {
            if (!gradient) return;
            for (int j = 0; j < cell_.gates; ++j) {
                for (index unit = 0; unit < hidden_; ++unit) {
                    body(work_.bias_sums[unit / L_ * width_ + (slot + j) * L_ + unit % L_],
                         gradient[gate[j] * hidden_ + unit]);
                }
            }
        };
        each(call_.dweights.b_ih, cell_.x_slot, cell_.x_gate);
        each(call_.dweights.b_hh, cell_.h_slot, cell_.h_gate);
    }

    const BackwardDirectionCall<T>& call_;
    const BackwardWorkspace<T>& work_;
    const Cache<T>& cache_;
    T* const gates_;  // null: computed again, or there are none
    T* const c_;      // null: computed again, or there is none
    std::optional<DirectionRecompute<T>> recompute_;
    const index terms_;       // K of the products with dgates
    const index unit_panel_;  // registers in a panel of the recurrent weights
    const TimeView<const T> x_, h_, doutput_, dcells_;
    const TimeView<T> dx_;
    std::vector<std::atomic<index>> next_task_;  // [chunks]
};

}  // namespace fastrnn
