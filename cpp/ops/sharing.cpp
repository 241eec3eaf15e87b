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
constexpr double waiting = 0.03;  // of a step's time, for whoever is held up in it

// Of one step of one direction, shared by `groups` of `members`, each of whom takes `slowdown`
// times as long for an equal part as the fastest would.
double step_seconds(const Work& work, int groups, int members, double slowdown) {
    const auto largest_part = [](index n, int parts) {
        return static_cast<double>(ceil_div(n, parts)) / static_cast<double>(larger(1, n));
    };
    const double rows = largest_part(work.batch, groups),
                 units = largest_part(work.unit_panels, members);
    const double weight_bytes = work.weight_bytes * units;
    const bool near = weight_bytes <= near_bytes;
    const double alone = work.step_flops * rows * units / flops_per_second * slowdown +
                         weight_bytes / (near ? near_bytes_per_second : far_bytes_per_second);
    if (members == 1) return alone;
    // What others have made comes in while a member reads as much of its own; the rest it waits
    // for.
    const double from_others = work.gradient_bytes * rows * std::max(0.0, 1 - 2 * units);
    return alone * (1 + waiting) + barrier_seconds + from_others / handed_on_bytes_per_second;
}

// What Sharing::pace is made of: the paces of a single group's members or, of several, whose
// members get equal parts of the units, that of each group's slowest member.
std::vector<double> paces_of(const std::vector<double>& paces, int groups, int members) {
    if (groups == 1) return {paces.begin(), paces.begin() + members};
    std::vector<double> slowest;
    for (int g = 0; g < groups; ++g) {
        const auto first = paces.begin() + g * members;
        slowest.push_back(*std::min_element(first, first + members));
    }
    return slowest;
}

// How many of n come before part number `part`, where parts are in proportion to their pace.
index part_before(const std::vector<double>& pace, int part, index n) {
    const double before = std::accumulate(pace.begin(), pace.begin() + part, 0.0),
                 all = std::accumulate(pace.begin(), pace.end(), 0.0);
    return static_cast<index>(std::lround(before / all * static_cast<double>(n)));
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
            double slowdown = 1;
            if (!paces.empty() && at_once == 1 && work.batch >= rows_for_pace * groups) {
                pace = paces_of(paces, groups, members);
                slowdown = static_cast<double>(pace.size()) /
                           std::accumulate(pace.begin(), pace.end(), 0.0);
            } else if (!paces.empty()) {  // parts are equal, and all wait for the slowest
                const auto taking_part = smaller(at_once * n, static_cast<index>(paces.size()));
                slowdown = 1 / *std::min_element(paces.begin(), paces.begin() + taking_part);
            }
            const double seconds = static_cast<double>(work.directions / at_once) *
                                   step_seconds(work, groups, members, slowdown);
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

Team::Range units_of_member(const Sharing& sharing, const Team& group, index units, index grain) {
    if (sharing.groups > 1 || sharing.pace.size() != static_cast<std::size_t>(group.size()))
        return group.split(units, grain);
    const index grains = ceil_div(units, grain);
    const auto before = [&](int member) {
        return smaller(units, grain * part_before(sharing.pace, member, grains));
    };
    return {before(group.rank()), before(group.rank() + 1)};
}

std::vector<index> rows_of_group(const Sharing& sharing, const Schedule& schedule, int group,
                                 int groups) {
    const bool by_pace = sharing.pace.size() == static_cast<std::size_t>(groups);
    std::vector<index> rows;
    if (schedule.full()) {
        const auto first_of = [&](int g) {
            return by_pace ? part_before(sharing.pace, g, schedule.batch)
                           : schedule.batch * g / groups;
        };
        rows.resize(static_cast<std::size_t>(first_of(group + 1) - first_of(group)));
        std::iota(rows.begin(), rows.end(), first_of(group));
        return rows;
    }
    struct Part {
        double work = 0, time = 1;  // `time`: for a step of one sequence
    };
    std::vector<Part> parts(static_cast<std::size_t>(groups));
    for (std::size_t g = 0; by_pace && g < parts.size(); ++g) parts[g].time = 1 / sharing.pace[g];
    for (index i = 0; i < schedule.batch; ++i) {
        const auto length = static_cast<double>(schedule.length[i]);
        std::size_t first = 0;
        double done = (parts[0].work + length) * parts[0].time;
        for (std::size_t g = 1; g < parts.size(); ++g) {
            const double by_this = (parts[g].work + length) * parts[g].time;
            if (by_this < done) first = g, done = by_this;
        }
        parts[first].work += length;
        if (first == static_cast<std::size_t>(group)) rows.push_back(i);
    }
    return rows;
}

}  // namespace fastrnn
