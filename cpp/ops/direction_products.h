// What the backward time loop leaves to products merged over time, of one layer in one direction:
// dx, dW_ih, dW_hh and the biases' gradients.
//
// They are made for a whole chunk of time at once, cut into tasks by output, never by token. Two
// buffers of the gates' gradients take turns, so one barrier a chunk is enough.
#pragma once

#include <algorithm>
#include <atomic>

#include "ops/backward_call.h"

namespace fastrnn {

// Per chunk: enough for an even load where a neighbour holds one thread up.
constexpr index dx_tasks_per_thread = 4;
// In percent: how much of the weights' gradients a member may get of what would be even.
constexpr index most_of_fair_share = 110;

template <class T>
class DirectionProducts : Direction<T> {
    using Direction<T>::schedule_, Direction<T>::table_, Direction<T>::cell_;
    using Direction<T>::L_, Direction<T>::hidden_, Direction<T>::input_, Direction<T>::units_;
    using Direction<T>::width_;

public:
    DirectionProducts(const Plan& plan, const Kernels& kernels, const Sharing& sharing,
                      const BackwardWorkspace<T>& work, const BackwardDirectionCall<T>& call)
        : Direction<T>(plan, kernels, sharing, call.input, call.h0),
          call_(call),
          work_(work),
          first_in_time_(plan.shape.first_step == 0),
          x_(call.x, schedule_, call.reverse),
          h_(call.output, schedule_, call.reverse),
          dx_(call.dx, schedule_, call.reverse),
          next_task_(static_cast<std::size_t>(schedule_.chunks()) + 1) {
        if (call.x_rows) token_row_ = call.x_rows.of_tokens(schedule_, call.reverse);
    }

    // W_ih transposed, zeros where sums begin; to be followed by a barrier.
    void prepare(Team& team) {
        if (call_.dx.data) {
            const Team::Range range = team.split(ceil_div(input_, L_), table_.product_panel);
            PackGates<T> args;
            args.hidden = hidden_, args.gates = cell_.gates, args.gate = cell_.x_gate;
            args.unit_begin = 0, args.unit_end = units_;
            args.weight = call_.weights.w_ih, args.stride = call_.weights.w_ih_stride;
            args.panel = table_.product_panel;
            args.packed = work_.w_ih.data() + range.begin * L_ * this->gate_terms();
            if (range.begin < range.end) {
                table_.pack_gates_transposed(args, range.begin * L_,
                                             smaller(input_, range.end * L_));
            }
        }
        if (team.rank() > 0) return;
        std::fill_n(work_.bias_sums.data(), units_ * width_, T(0));
        if (call_.accumulate) each_bias([](T& sum, T& gradient) { sum = gradient; });
        if (schedule_.chunks() == 0 && !call_.accumulate) {  // no token: every gradient is 0
            const index rows = cell_.gates * hidden_;
            if (call_.dweights.w_ih) std::fill_n(call_.dweights.w_ih, rows * input_, T(0));
            if (call_.dweights.w_hh) std::fill_n(call_.dweights.w_hh, rows * hidden_, T(0));
        }
    }

    // The gradients of the gates' arguments of step s, which the time loop writes.
    T* dgates_at(index s, index& unit_stride) const {
        const index c = s / schedule_.chunk_steps;
        unit_stride = ChunkLayout::padded(schedule_.chunk_tokens(c) * width_, sizeof(T));
        return work_.dgates[c % 2].data() + this->token_in_chunk(s) * width_;
    }

    // dW_ih, dW_hh, dx and the biases' sums, as far as a chunk's tokens go.
    void of_chunk(Team& team, index c) {
        const bool by_row = static_cast<bool>(call_.x_rows);
        const index tokens = schedule_.chunk_tokens(c);
        const index x_groups = by_row ? 0 : column_groups(call_.dweights.w_ih, input_);
        const index groups = x_groups + column_groups(call_.dweights.w_hh, hidden_);
        const index parts = parts_of_group(team, x_groups, groups, !by_row && call_.dx.data);
        const index weight_tasks = groups * parts;
        const index last_tasks =
            by_row ? smaller(units_, dx_tasks_per_thread * team.size()) : dx_tasks(team, tokens);
        for_tasks(team, next_task_[static_cast<std::size_t>(c)], 1 + weight_tasks + last_tasks,
                  [&](index task) {
                      if (task == 0) return bias_sums(c);
                      if (--task < weight_tasks) {
                          return weight_product_of_tokens(team, c,
                                                          weight_task(task, x_groups, parts));
                      }
                      task -= weight_tasks;
                      const auto part = [&](index n, index i) { return n * i / last_tasks; };
                      if (by_row) return sums_by_row(c, part(units_, task), part(units_, task + 1));
                      input_gradient_of_tokens(c, part(tokens, task), part(tokens, task + 1));
                  });
    }

    // Once the sums over all tokens are there, and where tokens share rows of x: dW_ih, and dx of
    // the rows.
    void of_rows(Team& team) {
        if (!call_.x_rows || !first_in_time_) return;
        team.barrier();
        const Terms terms = rows_of_x();
        if (schedule_.chunks() == 0) {
            for (index row = team.rank(); row < terms.count && call_.dx.data; row += team.size())
                std::fill_n(call_.dx.data + row * call_.dx.batch_stride, input_, T(0));
            return;
        }
        const auto offsets = [&](index stride, index first, index end) {
            std::vector<index> offset;
            for (index row = first; row < end; ++row) offset.push_back(row * stride);
            return offset;
        };
        const index groups = column_groups(call_.dweights.w_ih, input_);
        const index parts = parts_of_group(team, groups, groups, call_.dx.data != nullptr);
        const index weight_tasks = groups * parts;
        const index last_tasks = dx_tasks(team, terms.count);
        for_tasks(team, next_task_.back(), weight_tasks + last_tasks, [&](index task) {
            if (task < weight_tasks) {
                const auto pack = [&](index column, index columns, index first, index end,
                                      T* packed) {
                    const auto offset = offsets(call_.x.batch_stride, first, end);
                    table_.pack_rows(call_.x.data + column, offset.data(), end - first, columns,
                                     round_up(columns, L_), packed);
                };
                return weight_product(team, weight_task(task, groups, parts), terms, false, pack);
            }
            task -= weight_tasks;
            const index first = terms.count * task / last_tasks,
                        end = terms.count * (task + 1) / last_tasks;
            input_gradient(terms, first, end, call_.dx.data,
                           offsets(call_.dx.batch_stride, first, end).data());
        });
    }

    // After a barrier.
    void finish(const Team& team) {
        if (team.rank() == 0 && !team.cancelled())
            each_bias([](T& sum, T& gradient) { gradient = sum; });
    }

private:
    // The gradients of the gates' arguments that a product sums over: of a chunk's tokens, or of
    // the rows of x that tokens share.
    struct Terms {
        const T* gates;  // the first one's, from the first slot that counts on
        index unit_stride, width, count;
    };

    Terms tokens_of(index c, int slot) const {
        index stride;
        const T* const dgates = dgates_at(schedule_.chunk_begin(c), stride);
        return {dgates + slot * L_, stride, width_, schedule_.chunk_tokens(c)};
    }
    Terms rows_of_x() const {
        return {work_.row_sums, work_.row_stride, cell_.gates * L_, call_.x_rows.rows};
    }

    // dW for some of its columns and for some registers of units.
    struct WeightTask {
        bool recurrent;
        index column, columns, unit_begin, unit_end;
    };

    index columns_per_task() const { return panels_per_task * table_.outer_panel * L_; }
    index column_groups(const T* gradient, index columns) const {
        return gradient ? ceil_div(columns, columns_per_task()) : 0;
    }
    // Task number `task` of those that x_groups groups of x's columns, and then groups of h's, make
    // in `parts` parts each.
    WeightTask weight_task(index task, index x_groups, index parts) const {
        const index part = task % parts, group = task / parts;
        const bool recurrent = group >= x_groups;
        const index column = (recurrent ? group - x_groups : group) * columns_per_task();
        const index left = (recurrent ? hidden_ : input_) - column;
        return {recurrent, column, smaller(columns_per_task(), left), units_ * part / parts,
                units_ * (part + 1) / parts};
    }
    // As few parts as give every member nearly the same share where whoever is free takes the next
    // task: each of a group's parts packs its panels anew.
    index parts_of_group(const Team& team, index x_groups, index groups, bool with_dx) const {
        if (groups == 0 || team.size() == 1) return smaller(groups, 1);
        const auto work = [&](index task, index parts) {
            const WeightTask t = weight_task(task, x_groups, parts);
            return ceil_div(t.columns, L_) * (t.unit_end - t.unit_begin);
        };
        index all = with_dx ? ceil_div(input_, L_) * units_ : 0;
        for (index group = 0; group < groups; ++group) all += work(group, 1);
        index best = 1, least = all;
        std::vector<index> share(static_cast<std::size_t>(team.size()));
        const index fewest = ceil_div(team.size(), groups);
        for (index parts = smaller(units_, fewest); parts <= smaller(units_, 2 * fewest); ++parts) {
            std::fill(share.begin(), share.end(), 0);
            for (index task = 0; task < groups * parts; ++task)
                *std::min_element(share.begin(), share.end()) += work(task, parts);
            const index longest = *std::max_element(share.begin(), share.end());
            if (longest < least) best = parts, least = longest;
            if (100 * longest * team.size() <= most_of_fair_share * all) break;
        }
        return best;
    }
    // They come last: small tasks that even out the load.
    index dx_tasks(const Team& team, index terms) const {
        const index parts = team.size() == 1 ? 1 : dx_tasks_per_thread * team.size();
        return call_.dx.data ? smaller(parts, ceil_div(terms, 32)) : 0;
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

    void weight_product_of_tokens(const Team& team, index c, const WeightTask& task) {
        weight_product(team, task, tokens_of(c, task.recurrent ? cell_.h_slot : cell_.x_slot),
                       call_.accumulate || c != schedule_.chunks() - 1,
                       [&](index column, index columns, index first, index end, T* packed) {
                           pack_tokens(c, task.recurrent, column, columns, first, end, packed);
                       });
    }

    // pack(column, columns, first, end, packed): columns of x (or of h one step earlier) for the
    // terms first .. end - 1.
    template <class Pack>
    void weight_product(const Team& team, const WeightTask& task, const Terms& terms, bool add,
                        const Pack& pack) {
        const index panel = table_.outer_panel * L_;
        T* const packed = work_.panels.data() + team.rank() * panels_per_task * work_.panel_stride;
        const int* gate = task.recurrent ? cell_.h_gate : cell_.x_gate;
        OuterArgs<T> a;
        a.a_stride = terms.width;
        a.m = cell_.gates * L_, a.width = L_;
        a.c_stride = task.recurrent ? hidden_ : input_;
        a.add = add;
        for (index first = 0; first < terms.count; first += terms_in_a_chain, a.add = true) {
            const index end = smaller(terms.count, first + terms_in_a_chain);
            a.terms = end - first;
            for (index n = 0; n < task.columns; n += panel) {
                pack(task.column + n, smaller(panel, task.columns - n), first, end,
                     packed + n / panel * work_.panel_stride);
            }
            for (index u = task.unit_begin; u < task.unit_end; ++u) {
                index group_row[4];
                for (int g = 0; g < cell_.gates; ++g) group_row[g] = gate[g] * hidden_ + u * L_;
                a.group_row = group_row;
                a.width_valid = smaller(L_, hidden_ - u * L_);
                a.a = terms.gates + u * terms.unit_stride + first * terms.width;
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

    void pack_tokens(index c, bool recurrent, index column, index columns, index first, index end,
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

    void input_gradient_of_tokens(index c, index first, index end) {
        std::vector<index> offset;
        for (index s = schedule_.chunk_begin(c); s < schedule_.chunk_end(c); ++s) {
            const index token = this->token_in_chunk(s);
            for (index k = larger(first, token); k < smaller(end, token + schedule_.active[s]); ++k)
                offset.push_back(dx_.start(s) + dx_.offset(s)[k - token]);
        }
        input_gradient(tokens_of(c, cell_.x_slot), first, end, dx_.base, offset.data());
    }

    // dx = W_ih^T dgates for the terms first .. end - 1; each one's place is dx + offset[...].
    void input_gradient(const Terms& terms, index first, index end, T* dx, const index* offset) {
        std::vector<index> a_offset;
        for (index k = first; k < end; ++k) a_offset.push_back(k * terms.width);
        ProductArgs<T> p;
        p.rows = end - first;
        p.a = terms.gates, p.run_stride = terms.unit_stride, p.a_offset = a_offset.data();
        this->sum_over_gates(p);
        p.b = work_.w_ih.data(), p.vectors = ceil_div(input_, L_), p.panel = table_.product_panel;
        p.c = dx, p.c_offset = offset;
        p.group_stride = L_;
        p.columns = input_;
        table_.product(p);
    }

    // Some units' gradients, added up by row: x's products need no more of the tokens.
    void sums_by_row(index c, index unit_begin, index unit_end) {
        const Terms sums = rows_of_x(), tokens = tokens_of(c, cell_.x_slot);
        const index* const row =
            token_row_.data() + schedule_.first_token[schedule_.chunk_begin(c)];
        for (index u = unit_begin; u < unit_end; ++u) {
            T* const to = work_.row_sums + u * sums.unit_stride;
            if (c == schedule_.chunks() - 1 && !call_.accumulate)
                std::fill_n(to, sums.count * sums.width, T(0));
            for (index k = 0; k < tokens.count; ++k) {
                table_.add_to(tokens.gates + u * tokens.unit_stride + k * tokens.width,
                              to + row[k] * sums.width, sums.width);
            }
        }
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
    const bool first_in_time_;  // of the segments, if this is one
    const TimeView<const T> x_, h_;
    const TimeView<T> dx_;
    std::vector<index> token_row_;               // where tokens share rows of x
    std::vector<std::atomic<index>> next_task_;  // [chunks], and one for the rows of x
};

}  // namespace fastrnn
