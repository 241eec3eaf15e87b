#include "bindings/arrays.h"
#include "ops/losses.h"

namespace fastrnn {
namespace {

template <class T>
LossRows<T> loss_rows(const py::object& predictions, const py::object& weights, double scale,
                      const py::object& losses, const py::object& dpredictions) {
    const index n = rows_of(predictions, "predictions", 0, 2),
                classes = rows_of(predictions, "predictions", 1, 2);
    if (classes < 1) throw py::value_error("predictions: expected rows of at least one element");
    return {n,
            classes,
            contiguous<const T>(predictions, "predictions", {n, classes}),
            optional<const T>(weights, "weights", {n}),
            scale,
            contiguous<T>(losses, "losses", {n}),
            optional<T>(dpredictions, "dpredictions", {n, classes})};
}

// A copy, as in ids_of. Labels of C or more are errors, unless their row has no weight.
template <class T>
std::vector<std::int64_t> checked_labels(const py::object& labels, const LossRows<T>& rows) {
    const auto* const given = contiguous<const std::int64_t>(labels, "labels", {rows.n});
    std::vector<std::int64_t> y(given, given + rows.n);
    for (std::size_t i = 0; i < y.size(); ++i) {
        if (y[i] < rows.classes) continue;
        if (!(rows.weights && rows.weights[i] == T(0))) check_ids(&y[i], 1, rows.classes, "labels");
        y[i] = -1;
    }
    return y;
}

double py_softmax_cross_entropy(const py::object& logits, const py::object& labels,
                                const py::object& weights, double scale, const py::object& losses,
                                const py::object& dlogits) {
    return by_type(logits, "logits", [&](auto zero) {
        const auto rows = loss_rows<decltype(zero)>(logits, weights, scale, losses, dlogits);
        const auto y = checked_labels(labels, rows);
        const py::gil_scoped_release release;
        return softmax_cross_entropy(rows, y.data());
    });
}

double py_cross_entropy(const py::object& probabilities, const py::object& labels,
                        const py::object& weights, double scale, const py::object& losses,
                        const py::object& dprobabilities) {
    return by_type(probabilities, "probabilities", [&](auto zero) {
        const auto rows =
            loss_rows<decltype(zero)>(probabilities, weights, scale, losses, dprobabilities);
        const auto y = checked_labels(labels, rows);
        const py::gil_scoped_release release;
        return cross_entropy(rows, y.data());
    });
}

RowLoss kind_of(const std::string& name) {
    static const char* const names[row_loss_count] = {
        "binary",       "binary_logits", "categorical", "categorical_logits",
        "mean_squared", "mean_absolute", "huber"};
    for (int i = 0; i < row_loss_count; ++i) {
        if (name == names[i]) return static_cast<RowLoss>(i);
    }
    throw py::value_error("kind: there is no loss called '" + name + "'");
}

double py_row_loss(const std::string& kind, const py::object& predictions,
                   const py::object& targets, const py::object& weights, double scale,
                   double parameter, const py::object& losses, const py::object& dpredictions) {
    return by_type(predictions, "predictions", [&](auto zero) {
        using T = decltype(zero);
        const RowLoss loss = kind_of(kind);
        const auto rows = loss_rows<T>(predictions, weights, scale, losses, dpredictions);
        const T* y = contiguous<const T>(targets, "targets", {rows.n, rows.classes});
        const py::gil_scoped_release release;
        return row_loss(rows, loss, y, parameter);
    });
}

}  // namespace

void bind_losses(py::module_& m) {
    using py::arg;
    m.def("softmax_cross_entropy", py_softmax_cross_entropy, arg("logits"), arg("labels"),
          arg("weights"), arg("scale"), arg("losses"), arg("dlogits"));
    m.def("cross_entropy", py_cross_entropy, arg("probabilities"), arg("labels"), arg("weights"),
          arg("scale"), arg("losses"), arg("dprobabilities"));
    m.def("row_loss", py_row_loss, arg("kind"), arg("predictions"), arg("targets"), arg("weights"),
          arg("scale"), arg("parameter"), arg("losses"), arg("dpredictions"));
}

}  // namespace fastrnn
