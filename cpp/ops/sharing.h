// How a team shares one layer's time loop.
//
// By rows: each member takes some of the sequences and walks through time alone, without a
// barrier. By units: each member owns a range of hidden units, and with it a slice of the weights
// that stays in its own cache, and all meet once a step. A large team does both: groups that take
// some of the sequences each and share them by units, so that a member's weights stay near and what
// it reads of the other members' units is little. The two directions of a layer do not need each
// other, so that each may be one half's work, with more rows to a member and fewer to meet.
// None of this changes a bit of the results.
#pragma once

#include <algorithm>
#include <vector>

#include "ops/recurrent.h"
#include "parallel/team.h"

namespace fastrnn {

struct Sharing {
    int groups = 1;      // that take some of the rows each
    int members = 1;     // of a group, that take some of the units each
    bool apart = false;  // the two directions of a layer side by side, each by half of the team
    double work = 0;     // of the call, as given to choose_sharing
    // Of each group, or of each member of a single one: what it gets of the rows, or of the units,
    // is in proportion. Empty: equal parts.
    std::vector<double> pace;

    int threads() const { return groups * members; }  // that share a direction
    int team() const { return apart ? 2 * threads() : threads(); }
};

// Rows of a group, in the mean over its steps, from which on its time tells how fast it is.
constexpr index rows_for_pace = 8;

struct Work {
    // Floating-point operations or bytes of weights that are read, whichever are more, since one
    // takes about as long as the other.
    double call = 0;
    // Of one step with all sequences: floating-point operations, bytes of the recurrent weights,
    // and bytes of gradients that the next one reads of all units. (The forward pass reads h, which
    // is less and costs no time that was seen.)
    double step_flops = 0, weight_bytes = 0, gradient_bytes = 0;
    index batch = 0, unit_panels = 0;  // what can be shared
    index directions = 1;
    bool by_pace = false;  // it may be shared in proportion to how fast the members are
};

Sharing choose_sharing(const Work& work);

// For every layer of a stack alike.
template <class T>
Sharing share_stack(const Plan& plan, const KernelTable<T>& table, bool backward,
                    index unit_grain) {
    const RecurrentShape& s = plan.shape;
    const double gates = table.cell[static_cast<int>(s.cell)].gates, size = sizeof(T),
                 H = static_cast<double>(s.hidden_size), B = static_cast<double>(s.batch);
    const double step_weights = gates * H * H;
    double row_weights = 0, read_weights = 0;
    for (index layer = 0; layer < s.layers; ++layer) {
        const double input_weights = gates * H * static_cast<double>(s.layer_input(layer));
        row_weights += input_weights + step_weights;
        read_weights += input_weights + step_weights * static_cast<double>(plan.schedule.steps);
    }
    const double flops = 2 * row_weights * static_cast<double>(plan.schedule.tokens());
    Work work;
    work.call = static_cast<double>((backward ? 2 : 1) * s.directions) *
                std::max(flops, read_weights * size);
    work.step_flops = 2 * step_weights * B;
    work.weight_bytes = step_weights * size;
    work.gradient_bytes = backward ? gates * H * B * size : 0;
    work.batch = s.batch;
    work.unit_panels = ceil_div(ceil_div(s.hidden_size, table.lanes), unit_grain);
    work.directions = s.directions;
    work.by_pace = plan.schedule.steps > 1;  // a stream's are shared once for all of them
    return choose_sharing(work);
}

// The sequences of one group, the longest first. Of sequences of one length it takes neighbours, so
// that no two groups write to one cache line; of others, one by one, each goes to whoever would
// have done it first.
std::vector<index> rows_of_group(const Sharing& sharing, const Schedule& schedule, int group,
                                 int groups);

// The registers of units of one member of a group, in whole grains.
Team::Range units_of_member(const Sharing& sharing, const Team& group, index units, index grain);

// One member's part: which sequences, which registers of units.
struct Share {
    // The region may have got fewer members than it asked for.
    Share(Team& team, const Sharing& sharing, const Schedule& schedule, index units,
          index unit_grain)
        : group(team.part(team.size() % sharing.members ? 1 : team.size() / sharing.members)) {
        const Team::Range own = units_of_member(sharing, group, units, unit_grain);
        unit_begin = own.begin, unit_end = own.end;
        const int groups = team.size() / group.size(), number = team.rank() / group.size();
        row = rows_of_group(sharing, schedule, number, groups);
        for (const index i : row) tokens += schedule.length[i];
        active_with_all = row.empty() ? 0 : row.back() + 1;
        const index longest = row.empty() ? 0 : schedule.length[row.front()];
        comparable = tokens >= rows_for_pace * longest &&
                     (group.size() == 1 || units >= 4 * unit_grain * group.size());
    }
    // How many of this member's sequences are among the first `active`.
    index rows(index active) const {
        if (active >= active_with_all) return static_cast<index>(row.size());
        return std::lower_bound(row.begin(), row.end(), active) - row.begin();
    }

    // For Team::note_pace; 0 where members' shares are too small for their times to tell who is
    // fast.
    double comparable_work() const {
        return comparable ? static_cast<double>(tokens * (unit_end - unit_begin)) : 0;
    }

    Team group;  // the members that have the same sequences: they meet after each step
    index unit_begin, unit_end;
    bool comparable;
    std::vector<index> row;
    index active_with_all = 0, tokens = 0;
};

}  // namespace fastrnn
