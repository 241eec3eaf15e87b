#include "ops/sharing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "parallel/pace.h"

namespace fastrnn {
namespace {

// Coarse figures of a current core; only their ratios matter. See bench/NOTES.md for what they were
// held against.
constexpr double flops_per_second = 100e9;
constexpr double near_bytes_per_second = 100e9;  // weights that stay in the core's own cache
constexpr double far_bytes_per_second = 25e9;    // weights that stream from the shared one
constexpr double near_bytes = 1 << 20;
constexpr double handed_on_bytes_per_second = 12e9;  // from one core to another
constexpr double barrier_seconds = 1e-6;

// Of one step of one direction, shared by `groups` of `members`, whose groups do as much together
// as `capacity` of them at the fastest pace.
double step_seconds(const Work& work, int groups, int members, double capacity) {
    const auto largest_part = [](index n, int parts) {
        return static_cast<double>(ceil_div(n, parts)) / static_cast<double>(larger(1, n));
    };
    const double rows = largest_part(work.batch, groups),
                 units = largest_part(work.unit_panels, members);
    const double weight_bytes = work.weight_bytes * units;
    const bool near = weight_bytes <= near_bytes;
    const double alone = work.step_flops * rows * units / flops_per_second * groups / capacity +
                         weight_bytes / (near ? near_bytes_per_second : far_bytes_per_second);
    if (members == 1) return alone;
    // What others have made comes in while a member reads as much of its own; the rest it waits
    // for.
    const double from_others = work.gradient_bytes * rows * std::max(0.0, 1 - 2 * units);
    return alone + barrier_seconds + from_others / handed_on_bytes_per_second;
}

// A group's units are shared equally, so that it is as fast as its slowest member.
std::vector<double> group_paces(const std::vector<double>& paces, int groups, int members) {
    std::vector<double> slowest;
    for (int g = 0; g < groups && !paces.empty(); ++g) {
        const auto first = paces.begin() + g * members;
        slowest.push_back(*std::min_element(first, first + members));
    }
    return slowest;
}

}  // namespace

Sharing choose_sharing(const Work& work) {
    const index pieces = larger(work.batch, work.unit_panels);
    Sharing best;
    best.work = work.call;
    double best_seconds = std::numeric_limits<double>::infinity();
    const int most = threads_worth(work.call, pieces);
    const std::vector<double> paces = work.by_pace ? recent_paces(most) : std::vector<double>{};
    // `at_once` directions, by n members each. Of equals the first is taken: fewer threads, then
    // fewer that have to meet.
    const auto consider = [&](int n, index at_once) {
        for (int members = 1; members <= n; ++members) {
            if (n % members != 0) continue;
            const int groups = n / members;
            std::vector<double> pace;
            if (at_once == 1) pace = group_paces(paces, groups, members);
            const double capacity =
                pace.empty() ? groups : std::accumulate(pace.begin(), pace.end(), 0.0);
            const double seconds = static_cast<double>(work.directions / at_once) *
                                   step_seconds(work, groups, members, capacity);
            if (seconds >= best_seconds) continue;
            best = {groups, members, at_once == 2, work.call, std::move(pace)};
            best_seconds = seconds;
        }
    };
    for (int n = 1; n <= most; ++n) consider(n, 1);
    const int most_apart = work.directions == 2 ? threads_worth(work.call, 2 * pieces) / 2 : 0;
    for (int n = 1; n <= most_apart; ++n) consider(n, 2);
    return best;
}

std::vector<index> rows_of_group(const Sharing& sharing, const Schedule& schedule, int group,
                                 int groups) {
    const bool by_pace = sharing.pace.size() == static_cast<std::size_t>(groups);
    const auto pace = [&](int g) {
        return by_pace ? sharing.pace[static_cast<std::size_t>(g)] : 1.0;
    };
    std::vector<index> rows;
    if (schedule.full()) {
        const auto first_of = [&](int g) {
            if (!by_pace) return schedule.batch * g / groups;
            const auto first = sharing.pace.begin(), last = sharing.pace.end();
            const double part =
                std::accumulate(first, first + g, 0.0) / std::accumulate(first, last, 0.0);
            return static_cast<index>(std::lround(part * static_cast<double>(schedule.batch)));
        };
        rows.resize(static_cast<std::size_t>(first_of(group + 1) - first_of(group)));
        std::iota(rows.begin(), rows.end(), first_of(group));
        return rows;
    }
    std::vector<double> work(static_cast<std::size_t>(groups), 0.0);
    for (index i = 0; i < schedule.batch; ++i) {
        const auto done_by = [&](int g) {
            return (work[static_cast<std::size_t>(g)] + static_cast<double>(schedule.length[i])) /
                   pace(g);
        };
        int first = 0;
        for (int g = 1; g < groups; ++g)
            if (done_by(g) < done_by(first)) first = g;
        work[static_cast<std::size_t>(first)] += static_cast<double>(schedule.length[i]);
        if (first == group) rows.push_back(i);
    }
    return rows;
}

}  // namespace fastrnn
