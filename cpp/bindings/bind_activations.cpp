#include "bindings/arrays.h"
#include "ops/activations.h"

namespace fastrnn {
namespace {

Activation activation_named(const std::string& name) {
    static const char* const names[activation_count] = {
        "relu",        "leaky_relu",   "elu",     "selu", "softplus", "softsign",
        "exponential", "hard_sigmoid", "sigmoid", "tanh", "silu",     "gelu"};
    for (int i = 0; i < activation_count; ++i) {
        if (name == names[i]) return static_cast<Activation>(i);
    }
    std::string known;
    for (const char* const one : names) known += (known.empty() ? "" : ", ") + std::string(one);
    throw py::value_error("activation: expected one of " + known + ", got \"" + name + "\"");
}

std::vector<index> shape_of(const py::object& object, const char* name) {
    if (!py::isinstance<py::array>(object))
        throw py::type_error(std::string(name) + ": expected a numpy.ndarray");
    const auto a = py::reinterpret_borrow<py::array>(object);
    return std::vector<index>(a.shape(), a.shape() + a.ndim());
}

index product_of(const std::vector<index>& shape) {
    index n = 1;
    for (const index size : shape) n *= size;
    return n;
}

// Rows and columns of an array of rank 2 with at least one column.
std::vector<index> matrix_of(const py::object& object, const char* name) {
    std::vector<index> shape = shape_of(object, name);
    if (shape.size() != 2 || shape[1] < 1)
        throw py::value_error(std::string(name) + ": expected rank 2 with at least one column");
    return shape;
}

void py_activation(const std::string& name, const py::object& x, const py::object& out) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const Activation activation = activation_named(name);
        const std::vector<index> shape = shape_of(x, "x");
        const T* from = contiguous<const T>(x, "x", shape);
        T* to = contiguous<T>(out, "out", shape);
        const py::gil_scoped_release release;
        activation_forward(activation, from, to, product_of(shape));
    });
}

void py_activation_backward(const std::string& name, const py::object& kept, const py::object& dout,
                            const py::object& dx) {
    by_type(kept, "kept", [&](auto zero) {
        using T = decltype(zero);
        const Activation activation = activation_named(name);
        const std::vector<index> shape = shape_of(kept, "kept");
        const T* from = contiguous<const T>(kept, "kept", shape);
        const T* d = contiguous<const T>(dout, "dout", shape);
        T* to = contiguous<T>(dx, "dx", shape);
        const py::gil_scoped_release release;
        activation_backward(activation, from, d, to, product_of(shape));
    });
}

void py_softmax(const py::object& x, const py::object& out) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const std::vector<index> shape = matrix_of(x, "x");
        const T* from = contiguous<const T>(x, "x", shape);
        T* to = contiguous<T>(out, "out", shape);
        const py::gil_scoped_release release;
        softmax_forward(from, shape[0], shape[1], to);
    });
}

void py_softmax_backward(const py::object& y, const py::object& dout, const py::object& dx) {
    by_type(y, "y", [&](auto zero) {
        using T = decltype(zero);
        const std::vector<index> shape = matrix_of(y, "y");
        const T* from = contiguous<const T>(y, "y", shape);
        const T* d = contiguous<const T>(dout, "dout", shape);
        T* to = contiguous<T>(dx, "dx", shape);
        const py::gil_scoped_release release;
        softmax_backward(from, d, shape[0], shape[1], to);
    });
}

void py_layer_norm_forward(const py::object& x, const py::object& gamma, const py::object& beta,
                           double eps, const py::object& out, const py::object& mean,
                           const py::object& rstd) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const std::vector<index> shape = matrix_of(x, "x");
        const LayerNorm<T> norm{shape[0],
                                shape[1],
                                contiguous<const T>(x, "x", shape),
                                optional<const T>(gamma, "gamma", {shape[1]}),
                                optional<const T>(beta, "beta", {shape[1]}),
                                contiguous<T>(mean, "mean", {shape[0]}),
                                contiguous<T>(rstd, "rstd", {shape[0]})};
        T* to = contiguous<T>(out, "out", shape);
        const py::gil_scoped_release release;
        layer_norm_forward(norm, eps, to);
    });
}

void py_layer_norm_backward(const py::object& x, const py::object& gamma, const py::object& mean,
                            const py::object& rstd, const py::object& dout, const py::object& dx,
                            const py::object& dgamma, const py::object& dbeta) {
    by_type(x, "x", [&](auto zero) {
        using T = decltype(zero);
        const std::vector<index> shape = matrix_of(x, "x");
        const LayerNorm<T> norm{shape[0],
                                shape[1],
                                contiguous<const T>(x, "x", shape),
                                optional<const T>(gamma, "gamma", {shape[1]}),
                                nullptr,
                                contiguous<T>(mean, "mean", {shape[0]}),
                                contiguous<T>(rstd, "rstd", {shape[0]})};
        const T* d = contiguous<const T>(dout, "dout", shape);
        T* to_x = optional<T>(dx, "dx", shape);
        T* to_gamma = optional<T>(dgamma, "dgamma", {shape[1]});
        T* to_beta = optional<T>(dbeta, "dbeta", {shape[1]});
        const py::gil_scoped_release release;
        layer_norm_backward(norm, d, to_x, to_gamma, to_beta);
    });
}

}  // namespace

void bind_activations(py::module_& m) {
    using py::arg;
    m.def("activation_keeps_input",
          [](const std::string& name) { return keeps_input(activation_named(name)); });
    m.def("activation", py_activation, arg("name"), arg("x"), arg("out"));
    m.def("activation_backward", py_activation_backward, arg("name"), arg("kept"), arg("dout"),
          arg("dx"));
    m.def("softmax", py_softmax, arg("x"), arg("out"));
    m.def("softmax_backward", py_softmax_backward, arg("y"), arg("dout"), arg("dx"));
    m.def("layer_norm_forward", py_layer_norm_forward, arg("x"), arg("gamma"), arg("beta"),
          arg("eps"), arg("out"), arg("mean"), arg("rstd"));
    m.def("layer_norm_backward", py_layer_norm_backward, arg("x"), arg("gamma"), arg("mean"),
          arg("rstd"), arg("dout"), arg("dx"), arg("dgamma"), arg("dbeta"));
}

}  // namespace fastrnn
