#include "bindings/arrays.h"
#include "ops/pooling.h"

namespace fastrnn {
namespace {

py::array array_of(const py::object& object, const char* name, int ndim) {
    if (!py::isinstance<py::array>(object) ||
        py::reinterpret_borrow<py::array>(object).ndim() != ndim) {
        throw py::value_error(std::string(name) + ": expected a numpy.ndarray of rank " +
                              std::to_string(ndim));
    }
    return py::reinterpret_borrow<py::array>(object);
}

// bool [rows, steps] of any strides.
Mask mask_of(const py::object& object) {
    const py::array a = array_of(object, "mask", 2);
    if (!py::dtype::of<bool>().equal(a.dtype())) {
        throw py::type_error("mask: expected dtype bool, got " + std::string(py::str(a.dtype())));
    }
    return {static_cast<const std::uint8_t*>(a.data()), a.shape(0), a.shape(1), a.strides(0),
            a.strides(1)};
}

// The same; None stands for a mask of these sizes without gaps.
Mask mask_of(const py::object& object, index rows, index steps) {
    static const std::uint8_t yes = 1;
    if (object.is_none()) return {&yes, rows, steps, 0, 0};
    const Mask mask = mask_of(object);
    if (mask.rows != rows || mask.steps != steps) {
        throw py::value_error("mask: expected shape " + shape_text({rows, steps}) + ", got " +
                              shape_text({mask.rows, mask.steps}));
    }
    return mask;
}

int py_count_steps(const py::object& mask, const py::object& lengths) {
    const Mask m = mask_of(mask);
    auto* const to = contiguous<std::int64_t>(lengths, "lengths", {m.rows});
    const py::gil_scoped_release release;
    return static_cast<int>(count_steps(m, to));
}

bool py_packed_lengths(const py::object& batch_sizes, index tokens, const py::object& lengths) {
    const index steps = array_of(batch_sizes, "batch_sizes", 1).shape(0);
    const auto* const sizes = contiguous<const std::int64_t>(batch_sizes, "batch_sizes", {steps});
    const index rows = array_of(lengths, "lengths", 1).shape(0);
    auto* const to = contiguous<std::int64_t>(lengths, "lengths", {rows});
    return steps > 0 && sizes[0] == rows && packed_lengths(sizes, steps, tokens, to);
}

// More steps exist in no row than there are in x.
void check_longest(const Mask& mask, index steps) {
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(mask.rows));
    count_steps(mask, lengths.data());
    for (const std::int64_t length : lengths) {
        if (length > steps) {
            throw py::value_error("mask: expected at most " + std::to_string(steps) +
                                  " steps in a row, got " + std::to_string(length));
        }
    }
}

// [rows, steps, width] of any type without references to objects, the last axis contiguous.
StepArray steps_of(const py::array& a, const char* name) {
    if (a.dtype().attr("hasobject").cast<bool>()) {
        throw py::type_error(std::string(name) + ": expected a dtype without objects, got " +
                             std::string(py::str(a.dtype())));
    }
    if (a.size() > 0 && a.shape(2) > 1 && a.strides(2) != a.itemsize())
        throw py::value_error(std::string(name) + ": expected a contiguous last axis");
    return {static_cast<const char*>(a.data()), a.strides(0), a.strides(1),
            a.shape(2) * a.itemsize()};
}

char* output_like(const py::object& object, const py::array& x, index rows, index& steps) {
    py::array out = array_of(object, "out", 3);
    if (!out.dtype().equal(x.dtype()) || out.shape(0) != rows ||
        (steps >= 0 && out.shape(1) != steps) || out.shape(2) != x.shape(2)) {
        throw py::value_error("out: expected dtype " + std::string(py::str(x.dtype())) + " and " +
                              std::to_string(rows) + " rows of width " +
                              std::to_string(x.shape(2)) + ", got " +
                              std::string(py::str(out.dtype())) + " of shape " + shape_text(out));
    }
    if (!out.writeable() || !(out.flags() & py::array::c_style))
        throw py::value_error("out: expected a writeable C-contiguous array");
    steps = out.shape(1);
    return static_cast<char*>(out.mutable_data());
}

void py_gather_steps(const py::object& mask, const py::object& x, const py::object& out) {
    const py::array from = array_of(x, "x", 3);
    const Mask m = mask_of(mask, from.shape(0), from.shape(1));
    const StepArray steps = steps_of(from, "x");
    index out_steps = -1;
    char* const to = output_like(out, from, m.rows, out_steps);
    const py::gil_scoped_release release;
    gather_steps(m, steps, out_steps, to);
}

void py_scatter_steps(const py::object& mask, const py::object& x, bool repeat,
                      const py::object& out) {
    const py::array from = array_of(x, "x", 3);
    const Mask m = mask_of(mask);
    if (from.shape(0) != m.rows) {
        throw py::value_error("x: expected " + std::to_string(m.rows) + " rows, got " +
                              std::to_string(from.shape(0)));
    }
    check_longest(m, from.shape(1));
    const StepArray steps = steps_of(from, "x");
    index out_steps = m.steps;
    char* const to = output_like(out, from, m.rows, out_steps);
    const py::gil_scoped_release release;
    scatter_steps(m, steps, repeat, to);
}

void py_scatter_steps_backward(const py::object& mask, const py::object& dout,
                               const py::object& dx) {
    by_type(dx, "dx", [&](auto zero) {
        using T = decltype(zero);
        const Mask m = mask_of(mask);
        const py::array to = array_of(dx, "dx", 3);
        const index steps = to.shape(1), width = to.shape(2);
        check_longest(m, steps);
        const T* from = contiguous<const T>(dout, "dout", {m.rows, m.steps, width});
        T* const d = contiguous<T>(dx, "dx", {m.rows, steps, width});
        const py::gil_scoped_release release;
        scatter_steps_backward(m, from, width, steps, d);
    });
}

void py_differs(const py::object& x, double value, const py::object& mask) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const py::array a = array_of(x, "x", 3);
        const index rows = a.shape(0), steps = a.shape(1), width = a.shape(2);
        const T* from = contiguous<const T>(x, "x", {rows, steps, width});
        py::array m = array_of(mask, "mask", 2);
        if (!py::dtype::of<bool>().equal(m.dtype()) || m.shape(0) != rows || m.shape(1) != steps ||
            !m.writeable() || !(m.flags() & py::array::c_style)) {
            throw py::value_error("mask: expected a writeable bool array of shape " +
                                  shape_text({rows, steps}));
        }
        auto* const to = static_cast<std::uint8_t*>(m.mutable_data());
        const py::gil_scoped_release release;
        differs(from, rows * steps, width, static_cast<T>(value), to);
    });
}

Pooling pooling_named(const std::string& name) {
    if (name == "mean") return Pooling::mean;
    if (name == "max") return Pooling::max;
    if (name == "last") return Pooling::last;
    throw py::value_error("pooling: expected \"mean\", \"max\" or \"last\", got \"" + name + "\"");
}

void py_pool(const std::string& pooling, const py::object& x, const py::object& mask,
             const py::object& out, const py::object& place) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const Pooling p = pooling_named(pooling);
        const py::array a = array_of(x, "x", 3);
        const index rows = a.shape(0), steps = a.shape(1), width = a.shape(2);
        const T* from = contiguous<const T>(x, "x", {rows, steps, width});
        const Mask m = mask_of(mask, rows, steps);
        T* const to = contiguous<T>(out, "out", {rows, width});
        auto* const places = optional<std::int32_t>(place, "place", {rows, width});
        if (p == Pooling::max) required(places, "place");
        if (steps > INT32_MAX) throw py::value_error("x: expected fewer than 2^31 steps");
        const py::gil_scoped_release release;
        pool(p, m, from, width, to, places);
    });
}

void py_pool_backward(const std::string& pooling, const py::object& dout, const py::object& mask,
                      const py::object& place, const py::object& dx) {
    by_type(dx, "dx", [&](auto zero) {
        using T = decltype(zero);
        const Pooling p = pooling_named(pooling);
        const py::array a = array_of(dx, "dx", 3);
        const index rows = a.shape(0), steps = a.shape(1), width = a.shape(2);
        T* const to = contiguous<T>(dx, "dx", {rows, steps, width});
        const Mask m = mask_of(mask, rows, steps);
        const T* from = contiguous<const T>(dout, "dout", {rows, width});
        const auto* given = optional<const std::int32_t>(place, "place", {rows, width});
        if (p == Pooling::max) required(given, "place");
        std::vector<std::int32_t> places;  // a copy, as in ids_of
        if (given) places.assign(given, given + rows * width);
        for (const std::int32_t at : places) {
            if (at < -1 || at >= steps) {
                throw py::index_error("place: expected -1 .. " + std::to_string(steps - 1) +
                                      ", got " + std::to_string(at));
            }
        }
        const py::gil_scoped_release release;
        pool_backward(p, m, from, given ? places.data() : nullptr, width, to);
    });
}

Merge merge_named(const std::string& name) {
    if (name == "sum") return Merge::sum;
    if (name == "ave") return Merge::mean;
    if (name == "mul") return Merge::product;
    throw py::value_error("merge: expected \"sum\", \"ave\" or \"mul\", got \"" + name + "\"");
}

void py_merge(const std::string& merge, const py::object& x, const py::object& out) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const Merge how = merge_named(merge);
        const py::array a = array_of(out, "out", 2);
        const index rows = a.shape(0), width = a.shape(1);
        const T* from = contiguous<const T>(x, "x", {rows, 2 * width});
        T* const to = contiguous<T>(out, "out", {rows, width});
        const py::gil_scoped_release release;
        merge_halves(how, from, rows, width, to);
    });
}

void py_merge_backward(const std::string& merge, const py::object& x, const py::object& dout,
                       const py::object& dx) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const Merge how = merge_named(merge);
        const py::array a = array_of(dout, "dout", 2);
        const index rows = a.shape(0), width = a.shape(1);
        const T* from = contiguous<const T>(x, "x", {rows, 2 * width});
        const T* d = contiguous<const T>(dout, "dout", {rows, width});
        T* const to = contiguous<T>(dx, "dx", {rows, 2 * width});
        const py::gil_scoped_release release;
        merge_halves_backward(how, from, d, rows, width, to);
    });
}

}  // namespace

void bind_steps(py::module_& m) {
    using py::arg;
    m.def("packed_lengths", py_packed_lengths, arg("batch_sizes"), arg("tokens"), arg("lengths"));
    m.def("count_steps", py_count_steps, arg("mask"), arg("lengths"));
    m.def("gather_steps", py_gather_steps, arg("mask"), arg("x"), arg("out"));
    m.def("scatter_steps", py_scatter_steps, arg("mask"), arg("x"), arg("repeat"), arg("out"));
    m.def("scatter_steps_backward", py_scatter_steps_backward, arg("mask"), arg("dout"), arg("dx"));
    m.def("differs", py_differs, arg("x"), arg("value"), arg("mask"));
    m.def("pool", py_pool, arg("pooling"), arg("x"), arg("mask"), arg("out"), arg("place"));
    m.def("pool_backward", py_pool_backward, arg("pooling"), arg("dout"), arg("mask"), arg("place"),
          arg("dx"));
    m.def("merge", py_merge, arg("merge"), arg("x"), arg("out"));
    m.def("merge_backward", py_merge_backward, arg("merge"), arg("x"), arg("dout"), arg("dx"));
}

}  // namespace fastrnn
