#include <algorithm>
#include <atomic>
#include <variant>

#include "bindings/packed_weights.h"

namespace fastrnn {
namespace {

struct PyPlan {
    Plan plan;
    bool double_precision;
    std::uint64_t number;  // no two plans of a process have the same

    index gates() const { return cell().gates; }
    bool has_c() const { return cell().has_c; }
    const CellKernels<float>& cell() const {
        return kernel_table<float>(current_kernels()).cell[static_cast<int>(plan.shape.cell)];
    }
    index cache_bytes() const {
        if (double_precision) return Cache<double>(plan, current_kernels()).bytes;
        return Cache<float>(plan, current_kernels()).bytes;
    }
    std::vector<index> sequence(index width) const {
        return {plan.shape.steps, plan.shape.batch, width};
    }
    std::vector<index> input() const { return sequence(plan.shape.input_size); }
    std::vector<index> output() const {
        return sequence(plan.shape.directions * plan.shape.hidden_size);
    }
    std::vector<index> state() const {
        return {plan.shape.layers * plan.shape.directions, plan.shape.batch,
                plan.shape.hidden_size};
    }
};

struct PyCache {
    std::uint64_t plan_number;
    std::variant<std::unique_ptr<Cache<float>>, std::unique_ptr<Cache<double>>> cache;
    index bytes() const {
        return std::visit([](const auto& c) { return c->bytes; }, cache);
    }
    index row_sums(const PyPlan& p, index rows) const {
        return std::visit([&](const auto& c) { return row_sums_size(p.plan, *c, rows); }, cache);
    }
};

Cell cell_named(const std::string& name) {
    if (name == "rnn_tanh") return Cell::rnn_tanh;
    if (name == "rnn_relu") return Cell::rnn_relu;
    if (name == "lstm") return Cell::lstm;
    if (name == "gru") return Cell::gru;
    throw py::value_error("cell: expected \"rnn_tanh\", \"rnn_relu\", \"lstm\" or \"gru\", got \"" +
                          name + "\"");
}

Recompute recompute_named(const std::string& name) {
    if (name == "none") return Recompute::none;
    if (name == "gates") return Recompute::gates;
    if (name == "checkpoint") return Recompute::checkpoint;
    throw py::value_error("recompute: expected \"none\", \"gates\" or \"checkpoint\", got \"" +
                          name + "\"");
}

std::unique_ptr<PyPlan> make_plan(const std::string& cell, bool double_precision, index steps,
                                  index batch, index input_size, index hidden_size, index layers,
                                  index directions, const py::object& lengths, double dropout,
                                  std::uint64_t seed, bool training, const std::string& recompute,
                                  index first_step, index total_steps, double input_dropout) {
    const auto at_least = [](const char* name, index value, index least) {
        if (value < least) {
            throw py::value_error(std::string(name) + ": expected " + std::to_string(least) +
                                  " or more, got " + std::to_string(value));
        }
    };
    RecurrentShape s;
    s.cell = cell_named(cell);
    at_least("steps", s.steps = steps, 1);
    at_least("batch", s.batch = batch, 0);
    at_least("input_size", s.input_size = input_size, 1);
    at_least("hidden_size", s.hidden_size = hidden_size, 1);
    at_least("num_layers", s.layers = layers, 1);
    s.directions = directions;
    if (directions != 1 && directions != 2)
        throw py::value_error("num_directions: expected 1 or 2, got " + std::to_string(directions));
    const auto probability = [](const char* name, double value) {
        if (!(value >= 0 && value <= 1)) {
            throw py::value_error(std::string(name) + ": expected 0 .. 1, got " +
                                  std::to_string(value));
        }
    };
    probability("dropout", dropout), probability("input_dropout", input_dropout);
    s.dropout = dropout, s.input_dropout = input_dropout, s.seed = seed, s.training = training;
    s.recompute = recompute_named(recompute);
    // Of a segment: which of `total_steps` steps these are.
    if (total_steps < 0) total_steps = steps;
    if (first_step < 0 || steps > total_steps || first_step > total_steps - steps) {
        throw py::value_error("first_step: expected a segment of " + std::to_string(total_steps) +
                              " steps, got " + std::to_string(steps) + " from step " +
                              std::to_string(first_step) + " on");
    }
    s.first_step = first_step;
    const auto* l = optional<const std::int64_t>(lengths, "lengths", {batch});
    for (index i = 0; l && i < batch; ++i) {
        if (l[i] < 0 || l[i] > total_steps) {
            throw py::value_error("lengths: expected 0 .. " + std::to_string(total_steps) +
                                  ", got " + std::to_string(l[i]) + " at position " +
                                  std::to_string(i));
        }
    }
    static std::atomic<std::uint64_t> plans{0};
    auto made = std::unique_ptr<PyPlan>(new PyPlan{Plan(s, l), double_precision, ++plans});
    if (first_step % made->plan.schedule.chunk_steps != 0) {
        throw py::value_error("first_step: expected a multiple of " +
                              std::to_string(made->plan.schedule.chunk_steps) + ", got " +
                              std::to_string(first_step));
    }
    return made;
}

// Four arrays per layer and direction: weight_ih, weight_hh, bias_ih, bias_hh. T const: to be read;
// else gradients. A tuple, which keeps the arrays alive as a sequence of the caller's may not.
template <class T>
std::vector<LayerWeights<T>> layer_weights(const PyPlan& p, const py::tuple& arrays,
                                           const char* name) {
    const RecurrentShape& s = p.plan.shape;
    const index count = s.layers * s.directions, rows = p.gates() * s.hidden_size;
    if (static_cast<index>(arrays.size()) != 4 * count) {
        throw py::value_error(std::string(name) + ": expected " + std::to_string(4 * count) +
                              " arrays, got " + std::to_string(arrays.size()));
    }
    std::vector<LayerWeights<T>> all(static_cast<std::size_t>(count));
    for (index i = 0; i < count; ++i) {
        LayerWeights<T>& w = all[static_cast<std::size_t>(i)];
        const auto at = [&](index k) {
            return py::object(arrays[static_cast<std::size_t>(4 * i + k)]);
        };
        const auto matrix = [&](index k, index columns, T*& data, index& stride) {
            if constexpr (std::is_const_v<T>) {
                const py::array a = checked<T>(at(k), name, {rows, columns});
                data = data_of<T>(a);
                stride = stride_of<T>(a, 0);
            } else {
                data = optional<T>(at(k), name, {rows, columns});  // None: not wanted
                stride = columns;
            }
        };
        matrix(0, s.layer_input(i / s.directions), w.w_ih, w.w_ih_stride);
        matrix(1, s.hidden_size, w.w_hh, w.w_hh_stride);
        w.b_ih = optional<T>(at(2), name, {rows});
        w.b_hh = optional<T>(at(3), name, {rows});
    }
    return all;
}

// [T, B, F], or packed: [tokens, F], step after step, the longest sequence first.
template <class T>
Tensor3<T> sequence(const PyPlan& p, const py::object& object, const char* name,
                    const std::vector<index>& shape) {
    if (!py::isinstance<py::array>(object) ||
        py::reinterpret_borrow<py::array>(object).ndim() != 2) {
        return tensor3<T>(object, name, shape);
    }
    const Schedule& schedule = p.plan.schedule;
    if (!std::is_sorted(schedule.order.begin(), schedule.order.end())) {
        throw py::value_error(std::string(name) +
                              ": is packed, so the lengths must not rise from row to row");
    }
    const py::array a = checked<T>(object, name, {schedule.tokens(), shape[2]});
    return {data_of<T>(a), 0, stride_of<T>(a, 0), true};
}

// x [N, I], of which each token has the row that x_rows [T, B] names.
template <class T>
Tensor3<T> table_of(const PyPlan& p, const py::object& object, const char* name, index rows) {
    const py::array a = checked<T>(object, name, {rows, p.plan.shape.input_size});
    return {data_of<T>(a), 0, stride_of<T>(a, 0)};
}

// `copy`: what the result points to; a copy, as in ids_of.
RowIndex row_index(const PyPlan& p, const py::object& x, const py::object& x_rows,
                   std::vector<std::int64_t>& copy) {
    if (x_rows.is_none()) return {};
    const RecurrentShape& s = p.plan.shape;
    if (s.drops_input()) throw py::value_error("x_rows: expected None with dropout of the input");
    const py::array a = checked<const std::int64_t>(x_rows, "x_rows", {s.steps, s.batch});
    const auto* const given = data_of<const std::int64_t>(a);
    const index time_stride = stride_of<const std::int64_t>(a, 0),
                batch_stride = stride_of<const std::int64_t>(a, 1);
    const index most = rows_of(x, "x", 0, 2);
    copy.reserve(static_cast<std::size_t>(larger(1, s.steps * s.batch)));  // null stands for none
    for (index t = 0; t < s.steps; ++t) {
        for (index i = 0; i < s.batch; ++i) {
            const std::int64_t row = given[t * time_stride + i * batch_stride];
            if (row < 0 || row >= most) {
                throw py::value_error("x_rows: expected rows 0 .. " + std::to_string(most - 1) +
                                      " of x, got " + std::to_string(row));
            }
            copy.push_back(row);
        }
    }
    return {copy.data(), most, s.batch, 1};
}

// Calls body(T()) with the plan's type.
template <class Body>
auto by_plan(const PyPlan& p, const Body& body) {
    return p.double_precision ? body(double()) : body(float());
}

std::unique_ptr<PyPackedWeights> py_pack_weights(const PyPlan& p, const py::sequence& weights) {
    return by_plan(p, [&](auto zero) {
        using T = decltype(zero);
        const py::tuple kept(weights);
        const auto w = layer_weights<const T>(p, kept, "weights");
        const RecurrentShape& s = p.plan.shape;
        const py::gil_scoped_release release;
        return std::unique_ptr<PyPackedWeights>(new PyPackedWeights{pack_stack<T>(p.plan, w), s});
    });
}

std::unique_ptr<PyCache> py_forward(const PyPlan& p, const py::object& x, const py::object& weights,
                                    const py::object& h0, const py::object& c0,
                                    const py::object& output, const py::object& hn,
                                    const py::object& cn, const py::object& cells,
                                    const py::object& x_rows) {
    return by_plan(p, [&](auto zero) {
        using T = decltype(zero);
        const RecurrentShape& s = p.plan.shape;
        ForwardCall<T> call;
        py::tuple kept;
        std::vector<std::int64_t> kept_rows;
        if (py::isinstance<PyPackedWeights>(weights)) {
            const auto& packed = weights.cast<const PyPackedWeights&>();
            call.packed = std::get_if<PackedStack<T>>(&packed.stack);
            if (!call.packed || !packed.fits(s)) {
                throw py::value_error("weights: were packed for another plan");
            }
        } else {
            kept = weights.cast<py::sequence>();
            call.weights = layer_weights<const T>(p, kept, "weights");
        }
        call.x_rows = row_index(p, x, x_rows, kept_rows);
        call.x = call.x_rows ? table_of<const T>(p, x, "x", call.x_rows.rows)
                             : sequence<const T>(p, x, "x", p.input());
        required(call.x.data, "x");
        call.h0 = optional<const T>(h0, "h0", p.state());
        call.c0 = optional<const T>(c0, "c0", p.state());
        call.output = sequence<T>(p, output, "output", p.output());
        required(call.output.data, "output");
        call.hn = contiguous<T>(hn, "hn", p.state());
        call.cn = optional<T>(cn, "cn", p.state());
        call.cells = sequence<T>(p, cells, "cells", p.output());
        if (p.has_c()) {
            required(call.cn, "cn");
        } else if (call.c0 || call.cn || call.cells.data) {
            throw py::value_error("c0, cn, cells: only the LSTM has cell states");
        }
        const py::gil_scoped_release release;
        auto cache = recurrent_forward(p.plan, call);
        return cache ? std::unique_ptr<PyCache>(new PyCache{p.number, std::move(cache)}) : nullptr;
    });
}

void py_backward(const PyPlan& p, const PyCache& cache, const py::object& x,
                 const py::sequence& weights, const py::object& h0, const py::object& c0,
                 const py::object& output, const py::object& doutput, const py::object& dhn,
                 const py::object& dcn, const py::object& dcells, const py::object& dx,
                 const py::object& dh0, const py::object& dc0, const py::sequence& dweights,
                 bool accumulate, const py::object& x_rows, const py::object& row_sums) {
    by_plan(p, [&](auto zero) {
        using T = decltype(zero);
        const auto* typed = std::get_if<std::unique_ptr<Cache<T>>>(&cache.cache);
        if (!typed || cache.plan_number != p.number)
            throw py::value_error("cache: comes from another plan");
        BackwardCall<T> call;
        std::vector<std::int64_t> kept_rows;
        call.x_rows = row_index(p, x, x_rows, kept_rows);
        if (call.x_rows && p.plan.shape.directions == 1) {
            const index size = row_sums_size(p.plan, **typed, call.x_rows.rows);
            call.row_sums = optional<T>(row_sums, "row_sums", {size});
        }
        if (call.x_rows && !call.row_sums && (accumulate || p.plan.shape.first_step > 0))
            throw py::value_error("row_sums: expected an array for a segment with x_rows");
        call.x = call.x_rows ? table_of<const T>(p, x, "x", call.x_rows.rows)
                             : sequence<const T>(p, x, "x", p.input());
        required(call.x.data, "x");
        const py::tuple kept(weights), kept_gradients(dweights);
        call.weights = layer_weights<const T>(p, kept, "weights");
        call.h0 = optional<const T>(h0, "h0", p.state());
        call.c0 = optional<const T>(c0, "c0", p.state());
        call.output = sequence<const T>(p, output, "output", p.output());
        required(call.output.data, "output");
        call.doutput = sequence<const T>(p, doutput, "doutput", p.output());
        call.dhn = optional<const T>(dhn, "dhn", p.state());
        call.dcn = optional<const T>(dcn, "dcn", p.state());
        call.dcells = sequence<const T>(p, dcells, "dcells", p.output());
        call.dx = call.x_rows && !dx.is_none() ? table_of<T>(p, dx, "dx", call.x_rows.rows)
                                               : sequence<T>(p, dx, "dx", p.input());
        call.dh0 = optional<T>(dh0, "dh0", p.state());
        call.dc0 = optional<T>(dc0, "dc0", p.state());
        call.dweights = layer_weights<T>(p, kept_gradients, "dweights");
        call.accumulate = accumulate;
        if (!p.has_c() && (call.c0 || call.dcn || call.dcells.data || call.dc0)) {
            throw py::value_error("c0, dcn, dcells, dc0: only the LSTM has cell states");
        }
        const py::gil_scoped_release release;
        recurrent_backward(p.plan, **typed, call);
    });
}

}  // namespace

void bind_recurrent(py::module_& m) {
    using py::arg;
    // Members by lambdas: where self is None, a reference is refused; a member function would be
    // called with a null pointer.
    py::class_<PyPlan>(m, "Plan")
        .def(py::init(&make_plan), arg("cell"), arg("double_precision"), arg("steps"), arg("batch"),
             arg("input_size"), arg("hidden_size"), arg("num_layers"), arg("num_directions"),
             arg("lengths"), arg("dropout"), arg("seed"), arg("training"),
             arg("recompute") = "none", arg("first_step") = 0, arg("total_steps") = -1,
             arg("input_dropout") = 0.0)
        .def_property_readonly("chunk_steps",
                               [](const PyPlan& p) { return p.plan.schedule.chunk_steps; })
        .def_property_readonly("cache_nbytes", [](const PyPlan& p) { return p.cache_bytes(); });
    py::class_<PyCache>(m, "Cache")
        .def_property_readonly("nbytes", [](const PyCache& c) { return c.bytes(); })
        .def(
            "row_sums_size",
            [](const PyCache& c, const PyPlan& p, index rows) { return c.row_sums(p, rows); },
            arg("plan"), arg("rows"));
    py::class_<PyPackedWeights>(m, "PackedWeights")
        .def_property_readonly("nbytes", [](const PyPackedWeights& w) { return w.bytes(); })
        .def_property_readonly("isa", [](const PyPackedWeights& w) {
            return std::visit([](const auto& s) { return s.kernels.f32->isa; }, w.stack);
        });
    m.def("pack_weights", py_pack_weights, arg("plan"), arg("weights"));
    m.def("recurrent_forward", py_forward, arg("plan"), arg("x"), arg("weights"), arg("h0"),
          arg("c0"), arg("output"), arg("hn"), arg("cn"), arg("cells"), arg("x_rows") = py::none());
    m.def("recurrent_backward", py_backward, arg("plan"), arg("cache"), arg("x"), arg("weights"),
          arg("h0"), arg("c0"), arg("output"), arg("doutput"), arg("dhn"), arg("dcn"),
          arg("dcells"), arg("dx"), arg("dh0"), arg("dc0"), arg("dweights"),
          arg("accumulate") = false, arg("x_rows") = py::none(), arg("row_sums") = py::none());
}

}  // namespace fastrnn
