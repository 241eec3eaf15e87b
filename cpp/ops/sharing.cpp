#include "ops/sharing.h"

namespace fastrnn {
namespace {

// Coarse figures of a current core; only their ratios matter. See bench/NOTES.md for what they were
// held against.
constexpr double flops_per_second = 100e9;
constexpr double near_bytes_per_second = 100e9;  // weights that stay in the core's own cache
constexpr double far_bytes_per_second = 25e9;    // weights that stream from the shared one
constexpr double near_bytes = 1 << 20;
constexpr double barrier_seconds = 1e-6;

double step_seconds(double flops, double weight_bytes) {
    const bool near = weight_bytes <= near_bytes;
    return flops / flops_per_second +
           weight_bytes / (near ? near_bytes_per_second : far_bytes_per_second);
}

}  // namespace

Sharing choose_sharing(double call_work, double step_flops, double weight_bytes, index batch,
                       index unit_groups, index directions) {
    const index pieces = larger(batch, unit_groups);
    Sharing best{false, 1, false, call_work};
    double best_seconds = static_cast<double>(directions) * step_seconds(step_flops, weight_bytes);
    // `at_once` directions, by n members each.
    const auto consider = [&](int n, index at_once) {
        const double turns = static_cast<double>(directions / at_once);
        const double rows =
            static_cast<double>(ceil_div(batch, n)) / static_cast<double>(larger(1, batch));
        const double by_rows = turns * step_seconds(step_flops * rows, weight_bytes);
        const double part =
            static_cast<double>(ceil_div(unit_groups, n)) / static_cast<double>(unit_groups);
        const double by_units =
            turns * (step_seconds(step_flops * part, weight_bytes * part) + barrier_seconds);
        const bool apart = at_once == 2;
        if (by_rows < best_seconds) best = {false, n, apart, call_work}, best_seconds = by_rows;
        if (n > 1 && by_units < best_seconds)
            best = {true, n, apart, call_work}, best_seconds = by_units;
    };
    const int most = threads_worth(call_work, pieces);
    for (int n = 2; n <= most; ++n) consider(n, 1);
    const int most_apart = directions == 2 ? threads_worth(call_work, 2 * pieces) / 2 : 0;
    for (int n = 1; n <= most_apart; ++n) consider(n, 2);
    return best;
}

}  // namespace fastrnn
