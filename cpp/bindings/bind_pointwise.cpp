#include "bindings/arrays.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace fastrnn {
namespace {

template <class T>
LinearShape<T> linear_shape(const py::object& x, const py::object& weight) {
    const index rows = rows_of(x, "x", 0, 2), input = rows_of(x, "x", 1, 2),
                output = rows_of(weight, "weight", 0, 2);
    if (input < 1 || output < 1) {
        throw py::value_error("weight: expected one row and one column or more, got shape " +
                              shape_text({output, input}));
    }
    return {rows, input, output, contiguous<const T>(x, "x", {rows, input}),
            contiguous<const T>(weight, "weight", {output, input})};
}

void py_linear_forward(const py::object& x, const py::object& weight, const py::object& bias,
                       const py::object& out) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const LinearShape<T> shape = linear_shape<T>(x, weight);
        const T* b = optional<const T>(bias, "bias", {shape.output});
        T* o = contiguous<T>(out, "out", {shape.rows, shape.output});
        const py::gil_scoped_release release;
        linear_forward(shape, b, o);
    });
}

void py_linear_backward(const py::object& x, const py::object& weight, const py::object& dout,
                        const py::object& dx, const py::object& dweight, const py::object& dbias) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const LinearShape<T> shape = linear_shape<T>(x, weight);
        const T* d = contiguous<const T>(dout, "dout", {shape.rows, shape.output});
        T* to_x = optional<T>(dx, "dx", {shape.rows, shape.input});
        T* to_weight = optional<T>(dweight, "dweight", {shape.output, shape.input});
        T* to_bias = optional<T>(dbias, "dbias", {shape.output});
        const py::gil_scoped_release release;
        linear_backward(shape, d, to_x, to_weight, to_bias);
    });
}

void py_embedding_forward(const py::object& ids, const py::object& table, const py::object& out) {
    by_type(table, "table", [&](auto zero) {
        using T = decltype(zero);
        const index n = rows_of(ids, "ids", 0, 1), vocabulary = rows_of(table, "table", 0, 2);
        const index width = rows_of(table, "table", 1, 2);
        const auto* i = contiguous<const std::int64_t>(ids, "ids", {n});
        const T* t = contiguous<const T>(table, "table", {vocabulary, width});
        T* o = contiguous<T>(out, "out", {n, width});
        check_ids(i, n, vocabulary, "ids");
        const py::gil_scoped_release release;
        embedding_forward(i, n, t, width, o);
    });
}

void py_embedding_backward(const py::object& ids, const py::object& dout,
                           const py::object& dtable) {
    by_type(dtable, "dtable", [&](auto zero) {
        using T = decltype(zero);
        const index n = rows_of(ids, "ids", 0, 1), vocabulary = rows_of(dtable, "dtable", 0, 2);
        const index width = rows_of(dtable, "dtable", 1, 2);
        const auto* i = contiguous<const std::int64_t>(ids, "ids", {n});
        const T* d = contiguous<const T>(dout, "dout", {n, width});
        T* t = contiguous<T>(dtable, "dtable", {vocabulary, width});
        check_ids(i, n, vocabulary, "ids");
        const py::gil_scoped_release release;
        embedding_backward(i, n, d, vocabulary, width, t);
    });
}

py::tuple py_number_ids(const py::object& ids) {
    const index n = rows_of(ids, "ids", 0, 1);
    const auto* i = contiguous<const std::int64_t>(ids, "ids", {n});
    py::array_t<std::int64_t> place(n);
    std::int64_t* const to = place.mutable_data();
    std::vector<std::int64_t> found;
    {
        const py::gil_scoped_release release;
        found = number_ids(i, n, to);
    }
    return py::make_tuple(
        py::array_t<std::int64_t>(static_cast<py::ssize_t>(found.size()), found.data()), place);
}

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

void bind_pointwise(py::module_& m) {
    using py::arg;
    m.def("linear_forward", py_linear_forward, arg("x"), arg("weight"), arg("bias"), arg("out"));
    m.def("linear_backward", py_linear_backward, arg("x"), arg("weight"), arg("dout"), arg("dx"),
          arg("dweight"), arg("dbias"));
    m.def("embedding_forward", py_embedding_forward, arg("ids"), arg("table"), arg("out"));
    m.def("embedding_backward", py_embedding_backward, arg("ids"), arg("dout"), arg("dtable"));
    m.def("number_ids", py_number_ids, arg("ids"));
    m.def("dropout", py_dropout, arg("x"), arg("out"), arg("p"), arg("seed"), arg("stream"),
          arg("first_step"));
}

}  // namespace fastrnn
