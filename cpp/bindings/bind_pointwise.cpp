#include <cmath>

#include "bindings/arrays.h"
#include "ops/linear.h"
#include "ops/pointwise.h"

namespace fastrnn {
namespace {

index rows_of(const py::object& a, const char* name, int axis, int ndim) {
    if (!py::isinstance<py::array>(a) || py::reinterpret_borrow<py::array>(a).ndim() != ndim) {
        throw py::value_error(std::string(name) + ": expected a numpy.ndarray of rank " +
                              std::to_string(ndim));
    }
    return py::reinterpret_borrow<py::array>(a).shape(axis);
}

void check_ids(const std::int64_t* ids, index n, index low, index high, const char* name) {
    for (index i = 0; i < n; ++i) {
        if ((low == 0 && ids[i] < 0) || ids[i] >= high) {
            throw py::index_error(std::string(name) + ": expected 0 .. " +
                                  std::to_string(high - 1) + ", got " + std::to_string(ids[i]) +
                                  " at position " + std::to_string(i));
        }
    }
}

template <class T>
LinearShape<T> linear_shape(const py::object& x, const py::object& weight) {
    const index rows = rows_of(x, "x", 0, 2), input = rows_of(x, "x", 1, 2),
                output = rows_of(weight, "weight", 0, 2);
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
        check_ids(i, n, 0, vocabulary, "ids");
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
        check_ids(i, n, 0, vocabulary, "ids");
        const py::gil_scoped_release release;
        embedding_backward(i, n, d, vocabulary, width, t);
    });
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

double py_softmax_cross_entropy(const py::object& logits, const py::object& labels,
                                const py::object& weights, const py::object& losses,
                                const py::object& dlogits) {
    return by_type(logits, "logits", [&](auto zero) {
        using T = decltype(zero);
        const index n = rows_of(logits, "logits", 0, 2), classes = rows_of(logits, "logits", 1, 2);
        const T* x = contiguous<const T>(logits, "logits", {n, classes});
        const auto* y = contiguous<const std::int64_t>(labels, "labels", {n});
        const T* w = optional<const T>(weights, "weights", {n});
        T* l = contiguous<T>(losses, "losses", {n});
        T* d = optional<T>(dlogits, "dlogits", {n, classes});
        check_ids(y, n, -1, classes, "labels");
        const py::gil_scoped_release release;
        return softmax_cross_entropy(x, y, w, n, classes, l, d);
    });
}

double py_binary_cross_entropy(const py::object& logits, const py::object& targets,
                               const py::object& weights, const py::object& losses,
                               const py::object& dlogits) {
    return by_type(logits, "logits", [&](auto zero) {
        using T = decltype(zero);
        const index n = rows_of(logits, "logits", 0, 1);
        const T* x = contiguous<const T>(logits, "logits", {n});
        const T* y = contiguous<const T>(targets, "targets", {n});
        const T* w = optional<const T>(weights, "weights", {n});
        T* l = contiguous<T>(losses, "losses", {n});
        T* d = optional<T>(dlogits, "dlogits", {n});
        const py::gil_scoped_release release;
        return binary_cross_entropy(x, y, w, n, l, d);
    });
}

// The parameters with what belongs to each; a list that is empty stands for nulls.
template <class T>
std::vector<Parameter<T>> parameters(const py::sequence& values, const py::sequence& gradients,
                                     const py::sequence& first, const py::sequence& second) {
    std::vector<Parameter<T>> all;
    const auto array_of = [&](const py::sequence& list, const char* name, std::size_t i,
                              const std::vector<index>& shape) -> T* {
        if (list.size() == 0) return nullptr;
        if (list.size() != gradients.size()) {
            throw py::value_error(std::string(name) + ": expected " +
                                  std::to_string(gradients.size()) + " arrays, got " +
                                  std::to_string(list.size()));
        }
        const py::object item = list[i];
        return contiguous<T>(item, name, shape);
    };
    for (std::size_t i = 0; i < gradients.size(); ++i) {
        const py::object gradient = gradients[i];
        if (!py::isinstance<py::array>(gradient))
            throw py::type_error("grads: expected numpy.ndarrays");
        const auto a = py::reinterpret_borrow<py::array>(gradient);
        const std::vector<index> shape(a.shape(), a.shape() + a.ndim());
        const T* g = contiguous<const T>(gradient, "grads", shape);
        all.push_back({array_of(values, "params", i, shape), g, array_of(first, "first", i, shape),
                       array_of(second, "second", i, shape), a.size()});
    }
    return all;
}

void py_adam(const py::sequence& params, const py::sequence& grads, const py::sequence& first,
             const py::sequence& second, std::int64_t step, double lr, double beta1, double beta2,
             double eps, double weight_decay, double grad_scale) {
    if (params.size() != grads.size() || first.size() != grads.size() ||
        second.size() != grads.size()) {
        throw py::value_error("params, grads, first, second: expected lists of one length");
    }
    if (step < 1) throw py::value_error("step: expected 1 or more, got " + std::to_string(step));
    if (grads.size() == 0) return;
    by_type(py::object(grads[0]), "grads", [&](auto zero) {
        using T = decltype(zero);
        const auto all = parameters<T>(params, grads, first, second);
        const double n = static_cast<double>(step);
        const AdamStep<T> s{T(lr),
                            T(beta1),
                            T(beta2),
                            T(eps),
                            T(weight_decay),
                            T(grad_scale),
                            T(1 / (1 - std::pow(beta1, n))),
                            T(1 / (1 - std::pow(beta2, n)))};
        const py::gil_scoped_release release;
        adam(all, s);
    });
}

void py_sgd(const py::sequence& params, const py::sequence& grads, const py::sequence& velocities,
            double lr, double momentum, bool nesterov, double weight_decay, double grad_scale) {
    if (params.size() != grads.size())
        throw py::value_error("params, grads: expected lists of one length");
    if (grads.size() == 0) return;
    by_type(py::object(grads[0]), "grads", [&](auto zero) {
        using T = decltype(zero);
        const auto all = parameters<T>(params, grads, velocities, py::list());
        const SgdStep<T> s{T(lr), T(momentum), T(weight_decay), T(grad_scale), nesterov};
        const py::gil_scoped_release release;
        sgd(all, s);
    });
}

double py_global_norm(const py::sequence& arrays) {
    if (arrays.size() == 0) return 0;
    return by_type(py::object(arrays[0]), "arrays", [&](auto zero) {
        using T = decltype(zero);
        const auto all = parameters<T>(py::list(), arrays, py::list(), py::list());
        const py::gil_scoped_release release;
        return global_norm(all);
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
    m.def("dropout", py_dropout, arg("x"), arg("out"), arg("p"), arg("seed"), arg("stream"),
          arg("first_step"));
    m.def("softmax_cross_entropy", py_softmax_cross_entropy, arg("logits"), arg("labels"),
          arg("weights"), arg("losses"), arg("dlogits"));
    m.def("binary_cross_entropy", py_binary_cross_entropy, arg("logits"), arg("targets"),
          arg("weights"), arg("losses"), arg("dlogits"));
    m.def("adam", py_adam, arg("params"), arg("grads"), arg("first"), arg("second"), arg("step"),
          arg("lr"), arg("beta1"), arg("beta2"), arg("eps"), arg("weight_decay"),
          arg("grad_scale"));
    m.def("sgd", py_sgd, arg("params"), arg("grads"), arg("velocities"), arg("lr"), arg("momentum"),
          arg("nesterov"), arg("weight_decay"), arg("grad_scale"));
    m.def("global_norm", py_global_norm, arg("arrays"));
}

}  // namespace fastrnn
