// The backward time loop of one layer in one direction, once for all cells.
//
// Time goes by in chunks. A chunk's time loop is serial in t and leaves the gradients of the gates'
// arguments, of which DirectionProducts then makes all else.
#pragma once

#include <optional>

#include "ops/direction_products.h"
#include "ops/direction_recompute.h"

namespace fastrnn {

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
          unit_panel_(unit_panel),
          products_(plan, cache.kernels, sharing, work, call),
          h_(call.output, schedule_, call.reverse),
          doutput_(call.doutput, schedule_, call.reverse),
          dcells_(call.dcells, schedule_, call.reverse) {
        if (plan.shape.recompute != Recompute::none && cell_.keeps_gates)
            recompute_.emplace(plan, cache, which, sharing, work, call);
    }

    void run(Team& team) {
        Share share(team, sharing_, schedule_, units_, one_group() ? 1 : unit_panel_);
        const index panel =
            one_group() ? even_panel(share.unit_end - share.unit_begin, table_.product_panel)
                        : unit_panel_;
        prepare(team, share, panel);
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
                    recurrent_product(share, panel, s + 1, a_offset, c_offset);
                    step(share, s);
                }
                share.group.barrier();
            }
            team.note_pace(share.comparable_work(), team.busy_time() - start);
            team.poll();
            if (share.group.size() < team.size()) team.barrier();
            products_.of_chunk(team, c);
        }
        products_.of_rows(team);
        if (!team.cancelled()) {
            recurrent_product(share, panel, 0, a_offset, c_offset);
            finish_states(share);
        }
        team.barrier();
        products_.finish(team);
    }

private:
    // Whether all members have the same sequences: each then packs what it reads of W_hh itself, so
    // that its units may begin anywhere, in panels of its own.
    bool one_group() const { return sharing_.groups == 1; }

    // W_hh transposed, the states' gradients, what the products begin with.
    void prepare(Team& team, const Share& share, index panel) {
        const Team::Range range = one_group() ? Team::Range{share.unit_begin, share.unit_end}
                                              : team.split(units_, unit_panel_);
        PackGates<T> args;
        args.hidden = hidden_, args.gates = cell_.gates, args.gate = cell_.h_gate;
        args.unit_begin = 0, args.unit_end = units_;
        args.weight = call_.weights.w_hh, args.stride = call_.weights.w_hh_stride;
        args.panel = panel;
        args.packed = work_.w_hh.data() + range.begin * L_ * this->gate_terms();
        if (range.begin < range.end) {
            table_.pack_gates_transposed(args, range.begin * L_, smaller(hidden_, range.end * L_));
        }
        products_.prepare(team);
        if (recompute_) recompute_->pack(team);
        this->read_state(share, call_.dhn, work_.dh.data());
        if (cell_.has_c) {
            this->read_state(share, call_.dcn, work_.dc.data());
            this->read_state(share, call_.c0, work_.c_start.data());
        }
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
    void recurrent_product(const Share& share, index panel, index s,
                           const std::vector<index>& a_offset, const std::vector<index>& c_offset) {
        if (s >= schedule_.steps || share.unit_begin >= share.unit_end) return;
        ProductArgs<T> p;
        p.rows = share.rows(schedule_.active[s]);
        p.a = products_.dgates_at(s, p.run_stride), p.a_offset = a_offset.data();
        this->sum_over_gates(p);
        p.b = work_.w_hh.data() + share.unit_begin * L_ * this->gate_terms();
        p.vectors = share.unit_end - share.unit_begin, p.panel = panel;
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
        a.dgates = products_.dgates_at(s, a.dgates_stride);
        cell_.backward(a);
    }

    void finish_states(const Share& share) {
        if (call_.dh0) this->write_state(share, work_.dh.data(), call_.dh0);
        if (call_.dc0) this->write_state(share, work_.dc.data(), call_.dc0);
    }

    const BackwardDirectionCall<T>& call_;
    const BackwardWorkspace<T>& work_;
    const Cache<T>& cache_;
    T* const gates_;  // null: computed again, or there are none
    T* const c_;      // null: computed again, or there is none
    std::optional<DirectionRecompute<T>> recompute_;
    const index unit_panel_;  // registers in a panel that several groups read
    DirectionProducts<T> products_;
    const TimeView<const T> h_, doutput_, dcells_;
};

}  // namespace fastrnn
