#include "bindings/arrays.h"
#include "ops/dropout.h"

namespace fastrnn {
namespace {

void py_dropout(const py::object& x, const py::object& out, double p, std::uint64_t seed,
                std::uint32_t stream, index first_step) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const std::vector<index> shape = {rows_of(x, "x", 0, 3), rows_of(x, "x", 1, 3),
                                          rows_of(x, "x", 2, 3)};
        const T* from = contiguous<const T>(x, "x", shape);
        T* to = contiguous<T>(out, "out", shape);
        if (!(p >= 0 && p <= 1))
            throw py::value_error("p: expected a probability, got " + std::to_string(p));
        const py::gil_scoped_release release;
        dropout(from, to, shape[0], shape[1], shape[2], p, seed, stream, first_step);
    });
}

}  // namespace

void bind_dropout(py::module_& m) {
    using py::arg;
    m.def("dropout", py_dropout, arg("x"), arg("out"), arg("p"), arg("seed"), arg("stream"),
          arg("first_step"));
}

}  // namespace fastrnn
