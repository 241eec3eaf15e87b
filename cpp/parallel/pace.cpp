#include "parallel/pace.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>

namespace fastrnn {
namespace {

using Clock = std::chrono::steady_clock;

// Of members that differ less, equal shares come out as even as any.
constexpr double alike = 0.9;
constexpr auto forgotten_after = std::chrono::seconds(1);

// The fastest one's is 1.
std::vector<double> relative(std::vector<double> paces) {
    const double most = *std::max_element(paces.begin(), paces.end());
    for (double& pace : paces) pace /= most;
    return paces;
}

std::mutex notes;
std::vector<double> last, before_last;
Clock::time_point noted;

}  // namespace

void note_paces(const std::vector<double>& paces) {
    const auto known = [](double pace) { return pace > 0 && std::isfinite(pace); };
    if (paces.size() < 2 || !std::all_of(paces.begin(), paces.end(), known)) return;
    const std::unique_lock<std::mutex> lock(notes, std::try_to_lock);
    if (!lock) return;
    const auto now = Clock::now();
    before_last = now - noted > forgotten_after ? std::vector<double>{} : std::move(last);
    last = relative(paces);
    noted = now;
}

std::vector<double> recent_paces(int size) {
    const auto n = static_cast<std::size_t>(size);
    if (n < 2) return {};
    const std::unique_lock<std::mutex> lock(notes, std::try_to_lock);
    if (!lock || last.size() < n || before_last.size() < n) return {};
    if (Clock::now() - noted > forgotten_after) return {};
    // Who was slow once was held up; who was slow twice is slow.
    std::vector<double> paces(n);
    for (std::size_t i = 0; i < n; ++i) paces[i] = std::max(last[i], before_last[i]);
    paces = relative(paces);
    return *std::min_element(paces.begin(), paces.end()) < alike ? paces : std::vector<double>{};
}

}  // namespace fastrnn
