#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "dispatch/isa.h"
#include "ops/rates.h"
#include "parallel/pace.h"
#include "parallel/team.h"

namespace fastrnn {

void bind_runtime(py::module_& m) {
    current_isa();  // a wrong FASTRNN_ISA is an error now, not at the first call
    m.def("compiler", [] { return FASTRNN_COMPILER; });
    m.def("available_isas", &available_isas);
    m.def("compiled_isas", [] {
        std::vector<std::string> names;
        for (const Isa& isa : compiled_isas()) names.push_back(isa.name);
        return names;
    });
    m.def("get_isa", &current_isa);
    m.def("set_isa", &select_isa);
    m.def("get_num_threads", &get_num_threads);
    m.def("set_num_threads", [](int n) {
        if (n < 1 || n > 4096) {
            throw py::value_error("n: expected 1 .. 4096 threads, got " + std::to_string(n));
        }
        set_num_threads(n);
    });
    m.def("openmp_runtime", &openmp_runtime);
    m.def("set_awake_seconds", &set_awake_seconds);
    m.def("get_awake_seconds", &get_awake_seconds);
    m.def("note_paces", &note_paces);  // for tests: what a team on uneven processors would note
    m.def("fma_peak", [](bool double_precision, int num_threads, double seconds) {
        if (num_threads < 1 || num_threads > 4096) {
            throw py::value_error("num_threads: expected 1 .. 4096, got " +
                                  std::to_string(num_threads));
        }
        const py::gil_scoped_release release;
        return double_precision ? fma_peak<double>(num_threads, seconds)
                                : fma_peak<float>(num_threads, seconds);
    });
    m.def("read_bandwidth", [](index bytes, int num_threads, double seconds) {
        if (bytes < 1)
            throw py::value_error("bytes: expected 1 or more, got " + std::to_string(bytes));
        if (num_threads < 1 || num_threads > 4096) {
            throw py::value_error("num_threads: expected 1 .. 4096, got " +
                                  std::to_string(num_threads));
        }
        const py::gil_scoped_release release;
        return read_bandwidth(bytes, num_threads, seconds);
    });
}

}  // namespace fastrnn
