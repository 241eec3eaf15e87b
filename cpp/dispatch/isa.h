// The registry of implementations: which kernels this build has, which this machine can run, which
// are in use.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.h"

namespace fastrnn {

struct Isa {
    const char* name;
    bool (*runs_here)();
    Kernels (*kernels)();
};

const std::vector<Isa>& compiled_isas();    // the slowest first
std::vector<std::string> available_isas();  // those that run on this machine
std::string current_isa();
void select_isa(const std::string& name);  // throws std::invalid_argument
Kernels current_kernels();

template <class T>
const KernelTable<T>& kernel_table(const Kernels& k);
template <>
inline const KernelTable<float>& kernel_table(const Kernels& k) {
    return *k.f32;
}
template <>
inline const KernelTable<double>& kernel_table(const Kernels& k) {
    return *k.f64;
}

// That of the kernels in use.
template <class T>
const KernelTable<T>& current_table() {
    return kernel_table<T>(current_kernels());
}

}  // namespace fastrnn
