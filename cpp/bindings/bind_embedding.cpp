#include "bindings/arrays.h"
#include "ops/embedding.h"

namespace fastrnn {
namespace {

void py_embedding_forward(const py::object& ids, const py::object& table, const py::object& out) {
    by_type(table, "table", [&](auto zero) {
        using T = decltype(zero);
        const index n = rows_of(ids, "ids", 0, 1), vocabulary = rows_of(table, "table", 0, 2);
        const index width = rows_of(table, "table", 1, 2);
        const T* t = contiguous<const T>(table, "table", {vocabulary, width});
        T* o = contiguous<T>(out, "out", {n, width});
        const auto i = ids_of(ids, "ids", n, vocabulary);
        const py::gil_scoped_release release;
        embedding_forward(i.data(), n, t, width, o);
    });
}

void py_embedding_backward(const py::object& ids, const py::object& dout,
                           const py::object& dtable) {
    by_type(dtable, "dtable", [&](auto zero) {
        using T = decltype(zero);
        const index n = rows_of(ids, "ids", 0, 1), vocabulary = rows_of(dtable, "dtable", 0, 2);
        const index width = rows_of(dtable, "dtable", 1, 2);
        const T* d = contiguous<const T>(dout, "dout", {n, width});
        T* t = contiguous<T>(dtable, "dtable", {vocabulary, width});
        const auto i = ids_of(ids, "ids", n, vocabulary);
        const py::gil_scoped_release release;
        embedding_backward(i.data(), n, d, vocabulary, width, t);
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

}  // namespace

void bind_embedding(py::module_& m) {
    using py::arg;
    m.def("embedding_forward", py_embedding_forward, arg("ids"), arg("table"), arg("out"));
    m.def("embedding_backward", py_embedding_backward, arg("ids"), arg("dout"), arg("dtable"));
    m.def("number_ids", py_number_ids, arg("ids"));
}

}  // namespace fastrnn
