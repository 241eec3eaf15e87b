#include "bindings/arrays.h"
#include "ops/linear.h"

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

}  // namespace

void bind_linear(py::module_& m) {
    using py::arg;
    m.def("linear_forward", py_linear_forward, arg("x"), arg("weight"), arg("bias"), arg("out"));
    m.def("linear_backward", py_linear_backward, arg("x"), arg("weight"), arg("dout"), arg("dx"),
          arg("dweight"), arg("dbias"));
}

}  // namespace fastrnn
