#include "dispatch/isa.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#if defined(FASTRNN_HAVE_X86)
#include <cpuid.h>
#endif

namespace fastrnn {

Kernels kernels_scalar();
#if defined(FASTRNN_HAVE_X86)
Kernels kernels_avx2();
Kernels kernels_avx512();
#endif
#if defined(FASTRNN_HAVE_NEON)
Kernels kernels_neon();
#endif

namespace {

bool always() { return true; }

#if defined(FASTRNN_HAVE_X86)
// __builtin_cpu_supports also asks the operating system whether it saves the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
// __builtin_cpu_is knows no processor that is younger than the compiler.
unsigned family() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    __get_cpuid(1, &a, &b, &c, &d);
    const unsigned base = a >> 8 & 0xf;
    return base == 0xf ? base + (a >> 20 & 0xff) : base;
}

// Intel's processors and Zen 4 (AMD's family 19h with AVX-512) fetch better by themselves: a row is
// up to 1.2 times as fast without. Zen 5 is 1.2 times as fast with it where weights come from the
// shared cache, and no slower from near ones.
bool choose_row_fetches() {
    __builtin_cpu_init();  // this runs as the library is loaded
    return __builtin_cpu_is("amd") && !(family() == 0x19 && has_avx512());
}
#else
bool choose_row_fetches() { return false; }
#endif

const Isa* find(const std::string& name) {
    std::string runnable;
    for (const Isa& isa : compiled_isas()) {
        if (name == isa.name && isa.runs_here()) return &isa;
        if (isa.runs_here()) runnable += (runnable.empty() ? "" : ", ") + std::string(isa.name);
    }
    throw std::invalid_argument("isa: expected one of " + runnable +
                                " (what this build has and this machine runs), got \"" + name +
                                "\"");
}

const Isa* initial() {
    const char* forced = std::getenv("FASTRNN_ISA");
    if (forced && *forced) {
        try {
            return find(forced);
        } catch (const std::invalid_argument& error) {
            throw std::invalid_argument(std::string("FASTRNN_ISA, ") + error.what());
        }
    }
    const Isa* best = nullptr;
    for (const Isa& isa : compiled_isas()) {
        if (isa.runs_here()) best = &isa;
    }
    return best;
}

std::atomic<const Isa*>& current() {
    static std::atomic<const Isa*> isa{initial()};
    return isa;
}

}  // namespace

const bool row_fetches_ahead = choose_row_fetches();

const std::vector<Isa>& compiled_isas() {
    static const std::vector<Isa> isas = {
        {"scalar", always, kernels_scalar},
#if defined(FASTRNN_HAVE_X86)
        {"avx2", has_avx2, kernels_avx2},
        {"avx512", has_avx512, kernels_avx512},
#endif
#if defined(FASTRNN_HAVE_NEON)
        {"neon", always, kernels_neon},
#endif
    };
    return isas;
}

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Isa& isa : compiled_isas()) {
        if (isa.runs_here()) names.push_back(isa.name);
    }
    return names;
}

std::string current_isa() { return current().load()->name; }
void select_isa(const std::string& name) { current().store(find(name)); }
Kernels current_kernels() { return current().load()->kernels(); }

}  // namespace fastrnn
