// How a team shares one layer's time loop.
//
// By rows: each member takes some of the sequences and walks through time alone, without a
// barrier. By units: each member owns a range of hidden units, and with it a slice of the weights
// that stays in its own cache, and all meet once a step. The two directions of a layer do not need
// each other, so that each may be one half's work, with more rows to a member and fewer to meet.
// None of this changes a bit of the results.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/recurrent.h"
#include "parallel/team.h"

namespace fastrnn {

struct Sharing {
    bool by_units = false;
    int threads = 1;     // that share a direction
    bool apart = false;  // the two directions of a layer side by side, each by half of the team
    double work = 0;     // of the call, as given to choose_sharing

    int team() const { return apart ? 2 * threads : threads; }
};

// `call_work`: the call's floating-point operations or the bytes of weights that it reads,
// whichever are more, since one takes about as long as the other; `weight_bytes`: of the recurrent
// weights that one step reads; `step_flops`: of one step with all sequences; `unit_groups`: parts
// that the hidden units can be cut into.
Sharing choose_sharing(double call_work, double step_flops, double weight_bytes, index batch,
                       index unit_groups, index directions);

// For every layer of a stack alike; `products` is 1 for the forward pass, 2 for the backward pass.
template <class T>
Sharing share_stack(const Plan& plan, const KernelTable<T>& table, int products, index unit_grain) {
    const RecurrentShape& s = plan.shape;
    const double gates = table.cell[static_cast<int>(s.cell)].gates,
                 H = static_cast<double>(s.hidden_size);
    const double step_weights = gates * H * H,
                 passes = static_cast<double>(products * s.directions);
    double row_weights = 0, read_weights = 0;
    for (index layer = 0; layer < s.layers; ++layer) {
        const double input_weights = gates * H * static_cast<double>(s.layer_input(layer));
        row_weights += input_weights + step_weights;
        read_weights += input_weights + step_weights * static_cast<double>(plan.schedule.steps);
    }
    const double flops = 2 * row_weights * static_cast<double>(plan.schedule.tokens());
    return choose_sharing(passes * std::max(flops, read_weights * sizeof(T)),
                          2 * step_weights * static_cast<double>(s.batch), step_weights * sizeof(T),
                          s.batch, ceil_div(ceil_div(s.hidden_size, table.lanes), unit_grain),
                          s.directions);
}

// One member's part: which sequences, which registers of units.
//
// Of sequences of one length a member takes neighbours, so that no two write to one cache line; of
// others, which are sorted by length, every size-th, so that all have equal work.
struct Share {
    Share(const Team& team, const Sharing& sharing, const Schedule& schedule, index units,
          index unit_grain)
        : by_units(sharing.by_units) {
        const Team::Range all_units{0, units}, all_rows{0, schedule.batch};
        const Team::Range own = by_units ? team.split(units, unit_grain) : all_units;
        unit_begin = own.begin, unit_end = own.end;
        const bool apart = !by_units && !schedule.full();
        const Team::Range range = by_units || apart ? all_rows : team.split(schedule.batch);
        first = apart ? team.rank() : range.begin, every = apart ? team.size() : 1;
        for (index i = first; i < range.end; i += every) row.push_back(i);
    }
    // How many of this member's sequences are among the first `active`.
    index rows(index active) const {
        const index before = active > first ? ceil_div(active - first, every) : 0;
        return smaller(before, static_cast<index>(row.size()));
    }

    const bool by_units;
    index first, every;
    index unit_begin, unit_end;
    std::vector<index> row;
};

}  // namespace fastrnn
