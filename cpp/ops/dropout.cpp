#include "ops/dropout.h"

#include "dispatch/isa.h"
#include "ops/costs.h"

namespace fastrnn {

template <class T>
void dropout(const T* x, T* out, index rows, index steps, index units, double p, std::uint64_t seed,
             std::uint32_t stream, index first_step) {
    const DropoutRule<T> rule(p, seed, stream);
    for_ranges(rows * steps, static_cast<double>(rows * steps * units) * transcendental_flops,
               [&](index begin, index end) {
                   for (index i = begin; i < end; ++i) {
                       rule.row(current_table<T>(), x + i * units, out + i * units, units,
                                first_step + i % steps, i / steps);
                   }
               });
}

template void dropout(const float*, float*, index, index, index, double, std::uint64_t,
                      std::uint32_t, index);
template void dropout(const double*, double*, index, index, index, double, std::uint64_t,
                      std::uint32_t, index);

}  // namespace fastrnn
