#include <memory>

#include "bindings/packed_weights.h"
#include "ops/stepper.h"

namespace fastrnn {
namespace {

class PyStepper {
public:
    // `weights` is kept alive by the binding.
    explicit PyStepper(const PyPackedWeights& weights) {
        if (weights.shape.directions != 1)
            throw py::value_error("weights: expected one direction, got 2");
        std::visit([&](const auto& stack) { make(weights.shape, stack); }, weights.stack);
    }

    py::array step(const py::handle& x) { return f32_ ? step_in(*f32_, x) : step_in(*f64_, x); }
    py::object state() { return f32_ ? state_of(*f32_) : state_of(*f64_); }
    void reset(const py::object& h, const py::object& c) {
        f32_ ? reset_in(*f32_, h, c) : reset_in(*f64_, h, c);
    }

private:
    void make(const RecurrentShape& shape, const PackedStack<float>& stack) {
        f32_ = std::make_unique<Stepper<float>>(shape, stack);
    }
    void make(const RecurrentShape& shape, const PackedStack<double>& stack) {
        f64_ = std::make_unique<Stepper<double>>(shape, stack);
    }

    template <class T>
    static py::array step_in(Stepper<T>& stepper, const py::handle& object) {
        const RecurrentShape& s = stepper.shape();
        const py::array x = checked<const T>(object, "x", {-1, s.input_size});
        const index batch = x.shape(0);
        if (stepper.carrying() && batch != s.batch) {
            throw py::value_error("x: expected " + std::to_string(s.batch) +
                                  " rows, as the carried state has, got " + std::to_string(batch));
        }
        py::array_t<T> h({batch, s.hidden_size});
        T* const to = h.mutable_data();
        {
            const py::gil_scoped_release release;
            stepper.step(batch, data_of<const T>(x), stride_of<T>(x, 0), to);
        }
        return std::move(h);
    }

    template <class T>
    static py::object state_of(Stepper<T>& stepper) {
        if (!stepper.carrying()) return py::none();
        const RecurrentShape& s = stepper.shape();
        py::array_t<T> h({s.layers, s.batch, s.hidden_size});
        if (!stepper.has_c()) {
            stepper.read(h.mutable_data(), nullptr);
            return std::move(h);
        }
        py::array_t<T> c({s.layers, s.batch, s.hidden_size});
        stepper.read(h.mutable_data(), c.mutable_data());
        return py::make_tuple(h, c);
    }

    template <class T>
    static void reset_in(Stepper<T>& stepper, const py::object& h, const py::object& c) {
        if (h.is_none()) return stepper.forget();
        const RecurrentShape& s = stepper.shape();
        const std::vector<index> shape{s.layers, -1, s.hidden_size};
        const T* h0 = contiguous<const T>(h, "h0", shape);
        const index batch = py::reinterpret_borrow<py::array>(h).shape(1);
        const T* c0 = optional<const T>(c, "c0", {s.layers, batch, s.hidden_size});
        if (stepper.has_c()) required(c0, "c0");
        stepper.carry(batch, h0, c0);
    }

    std::unique_ptr<Stepper<float>> f32_;  // one of the two
    std::unique_ptr<Stepper<double>> f64_;
};

}  // namespace

void bind_stepper(py::module_& m) {
    using py::arg;
    py::class_<PyStepper>(m, "Stepper")
        .def(py::init<const PyPackedWeights&>(), arg("weights"), py::keep_alive<1, 2>())
        .def("step", &PyStepper::step, arg("x"))
        .def("reset", &PyStepper::reset, arg("h"), arg("c"))
        .def_property_readonly("state", &PyStepper::state);
}

}  // namespace fastrnn
