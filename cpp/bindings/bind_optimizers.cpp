#include <cmath>

#include "bindings/arrays.h"
#include "ops/optimizers.h"

namespace fastrnn {
namespace {

// A gradient as large as its parameter and None, or the rows of a pair (ids, rows) and the ids.
std::pair<py::object, py::object> gradient_and_ids(const py::object& item) {
    // Of a subclass too, what the tuple itself holds and keeps alive.
    const py::tuple tuple =
        py::isinstance<py::tuple>(item) ? py::reinterpret_borrow<py::tuple>(item) : py::tuple();
    const bool pair = tuple.size() == 2;
    const py::object gradient = pair ? py::object(tuple[1]) : item;
    if (!py::isinstance<py::array>(gradient))
        throw py::type_error("grads: expected numpy.ndarrays, got " +
                             std::string(py::str(py::type::of(gradient))));
    return {gradient, pair ? py::object(tuple[0]) : py::none()};
}

// Tuples, which keep the arrays alive as sequences of the caller's may not.
using Slots = std::vector<std::pair<const char*, py::tuple>>;

using Ids = std::vector<std::vector<std::int64_t>>;

// Every parameter with its gradient and its slots; a list of slots that is empty stands for nulls.
// `kept`: what they point to.
template <class T>
std::vector<Parameter<T>> parameters(const py::tuple& values, const py::tuple& gradients,
                                     const Slots& slots, Ids& kept) {
    std::vector<Parameter<T>> all;
    const auto array_of = [&](const py::tuple& list, const char* name, std::size_t i,
                              const std::vector<index>& shape) -> T* {
        if (list.size() == 0) return nullptr;
        const py::object item = list[i];
        return contiguous<T>(item, name, shape);
    };
    for (std::size_t i = 0; i < gradients.size(); ++i) {
        const auto [gradient, ids] = gradient_and_ids(gradients[i]);
        const auto a = py::reinterpret_borrow<py::array>(gradient);
        std::vector<index> shape(a.shape(), a.shape() + a.ndim());
        Parameter<T> p;
        p.all.gradient = contiguous<const T>(gradient, "grads", shape);
        p.size = a.size();
        if (!ids.is_none() && values.size() > 0) {
            p.rows = rows_of(gradient, "grads", 0, 2), p.width = shape[1];
            shape[0] = rows_of(values[i], "params", 0, 2);
            p.size = shape[0] * p.width;
            kept.push_back(ids_of(ids, "ids", p.rows, shape[0]));
            p.row = kept.back().data();
        }
        p.all.value = array_of(values, "params", i, shape);
        for (std::size_t s = 0; s < slots.size(); ++s)
            p.all.slot[s] = array_of(slots[s].second, slots[s].first, i, shape);
        all.push_back(p);
    }
    return all;
}

void check_length(const py::tuple& list, const char* name, std::size_t expected,
                  bool may_be_empty) {
    if (list.size() == expected || (may_be_empty && list.size() == 0)) return;
    throw py::value_error(std::string(name) + ": expected " + std::to_string(expected) +
                          " arrays, got " + std::to_string(list.size()));
}

Clipping clipping_of(double scale, const std::string& clip, double limit) {
    static const std::pair<const char*, ClipKind> kinds[] = {
        {"none", ClipKind::none},
        {"value", ClipKind::value},
        {"norm", ClipKind::norm},
        {"global_norm", ClipKind::global_norm},
    };
    for (const auto& [name, kind] : kinds) {
        if (clip == name) return {scale, kind, limit};
    }
    throw py::value_error("clip: expected none, value, norm or global_norm, got '" + clip + "'");
}

// Calls body(T(), all parameters) with the gradients' type, unless there are none.
template <class Body>
void update(const py::tuple& params, const py::tuple& grads, const Slots& slots, int required_slots,
            const Body& body) {
    check_length(params, "params", grads.size(), false);
    for (std::size_t s = 0; s < slots.size(); ++s) {
        check_length(slots[s].second, slots[s].first, grads.size(),
                     s >= static_cast<std::size_t>(required_slots));
    }
    if (grads.size() == 0) return;
    by_type(gradient_and_ids(grads[0]).first, "grads", [&](auto zero) {
        Ids ids;
        const auto all = parameters<decltype(zero)>(params, grads, slots, ids);
        const py::gil_scoped_release release;
        body(zero, all);
    });
}

void py_sgd(const py::sequence& params, const py::sequence& grads, const py::list& velocities,
            double lr, double momentum, bool nesterov, double weight_decay, double grad_scale,
            const std::string& clip, double limit) {
    const Clipping clipping = clipping_of(grad_scale, clip, limit);
    update(params, grads, {{"velocities", velocities}}, 0, [&](auto zero, const auto& all) {
        using T = decltype(zero);
        sgd(all, SgdStep<T>{T(lr), T(1 - lr * weight_decay), T(momentum), nesterov}, clipping);
    });
}

void py_adam(const py::sequence& params, const py::sequence& grads, const py::list& first,
             const py::list& second, const py::list& largest, std::int64_t step, double lr,
             double beta1, double beta2, double eps, double weight_decay, double grad_scale,
             const std::string& clip, double limit) {
    const Clipping clipping = clipping_of(grad_scale, clip, limit);
    if (step < 1) throw py::value_error("step: expected 1 or more, got " + std::to_string(step));
    const double n = static_cast<double>(step);
    const double alpha = lr * std::sqrt(1 - std::pow(beta2, n)) / (1 - std::pow(beta1, n));
    update(params, grads, {{"first", first}, {"second", second}, {"largest", largest}}, 2,
           [&](auto zero, const auto& all) {
               using T = decltype(zero);
               adam(all,
                    AdamStep<T>{T(alpha), T(1 - lr * weight_decay), T(1 - beta1), T(1 - beta2),
                                T(eps)},
                    clipping);
           });
}

void py_rmsprop(const py::sequence& params, const py::sequence& grads, const py::list& squares,
                const py::list& means, const py::list& velocities, double lr, double rho,
                double momentum, double eps, double weight_decay, double grad_scale,
                const std::string& clip, double limit) {
    const Clipping clipping = clipping_of(grad_scale, clip, limit);
    update(params, grads, {{"squares", squares}, {"means", means}, {"velocities", velocities}}, 1,
           [&](auto zero, const auto& all) {
               using T = decltype(zero);
               rmsprop(all,
                       RmspropStep<T>{T(lr), T(1 - lr * weight_decay), T(rho), T(1 - rho),
                                      T(momentum), T(eps)},
                       clipping);
           });
}

double py_global_norm(const py::sequence& arrays) {
    if (arrays.size() == 0) return 0;
    const py::tuple kept(arrays);
    return by_type(gradient_and_ids(kept[0]).first, "arrays", [&](auto zero) {
        Ids ids;
        const auto all = parameters<decltype(zero)>(py::tuple(), kept, {}, ids);
        const py::gil_scoped_release release;
        return global_norm(all);
    });
}

}  // namespace

void bind_optimizers(py::module_& m) {
    using py::arg;
    m.def("sgd", py_sgd, arg("params"), arg("grads"), arg("velocities"), arg("lr"), arg("momentum"),
          arg("nesterov"), arg("weight_decay"), arg("grad_scale"), arg("clip"), arg("limit"));
    m.def("adam", py_adam, arg("params"), arg("grads"), arg("first"), arg("second"), arg("largest"),
          arg("step"), arg("lr"), arg("beta1"), arg("beta2"), arg("eps"), arg("weight_decay"),
          arg("grad_scale"), arg("clip"), arg("limit"));
    m.def("rmsprop", py_rmsprop, arg("params"), arg("grads"), arg("squares"), arg("means"),
          arg("velocities"), arg("lr"), arg("rho"), arg("momentum"), arg("eps"),
          arg("weight_decay"), arg("grad_scale"), arg("clip"), arg("limit"));
    m.def("global_norm", py_global_norm, arg("arrays"));
}

}  // namespace fastrnn
