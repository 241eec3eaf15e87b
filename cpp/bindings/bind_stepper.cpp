#include <algorithm>
#include <memory>
#include <vector>

#include "bindings/packed_weights.h"
#include "bindings/plain_function.h"
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

    py::array step(py::handle x) { return f32_ ? step_in(*f32_, x) : step_in(*f64_, x); }
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
        const py::array x = checked<const T>(object, "x", {-1, stepper.input_size()});
        const index batch = x.shape(0);
        py::array h = new_array<T>(batch, stepper.hidden_size());
        index carried = batch;
        const auto run = [&, to = data_of<T>(h)] {
            if (stepper.carrying()) carried = stepper.batch();
            if (carried == batch) stepper.step(batch, data_of<const T>(x), stride_of<T>(x, 0), to);
        };
        // To let others run meanwhile takes as long as a small step's product.
        auto lock = stepper.try_lock();
        if (lock && stepper.carrying() && stepper.brief()) {
            run();
        } else {
            const py::gil_scoped_release release;
            if (!lock) lock = stepper.lock();
            run();
            lock.unlock();
        }
        if (carried != batch) {
            throw py::value_error("x: expected " + std::to_string(carried) +
                                  " rows, as the carried state has, got " + std::to_string(batch));
        }
        return h;
    }

    template <class T>
    static py::object state_of(Stepper<T>& stepper) {
        std::vector<T> h, c;
        index batch = -1;
        {
            const py::gil_scoped_release release;
            const auto lock = stepper.lock();
            if (stepper.carrying()) {
                batch = stepper.batch(), h = stepper.h();
                if (stepper.has_c()) c = stepper.c();
            }
        }
        if (batch < 0) return py::none();
        const auto array_of = [&](const std::vector<T>& values) {
            py::array a = new_array<T>(stepper.layers(), batch, stepper.hidden_size());
            std::copy(values.begin(), values.end(), data_of<T>(a));
            return a;
        };
        if (!stepper.has_c()) return array_of(h);
        return py::make_tuple(array_of(h), array_of(c));
    }

    template <class T>
    static void reset_in(Stepper<T>& stepper, const py::object& h, const py::object& c) {
        const bool given = !h.is_none();
        index batch = 0;
        const T *h0 = nullptr, *c0 = nullptr;
        if (given) {
            const index layers = stepper.layers(), hidden = stepper.hidden_size();
            h0 = contiguous<const T>(h, "h0", {layers, -1, hidden});
            batch = py::reinterpret_borrow<py::array>(h).shape(1);
            c0 = optional<const T>(c, "c0", {layers, batch, hidden});
            if (stepper.has_c()) required(c0, "c0");
        }
        const py::gil_scoped_release release;
        const auto lock = stepper.lock();
        given ? stepper.carry(batch, h0, c0) : stepper.forget();
    }

    std::unique_ptr<Stepper<float>> f32_;  // one of the two
    std::unique_ptr<Stepper<double>> f64_;
};

}  // namespace

void bind_stepper(py::module_& m) {
    using py::arg;
    py::class_<PyStepper>(m, "Stepper")
        .def(py::init<const PyPackedWeights&>(), arg("weights"), py::keep_alive<1, 2>())
        .def_property_readonly("step",
                               [](const py::object& self) {
                                   return plain_function<PyStepper, &PyStepper::step>(self, "step");
                               })
        .def(
            "reset", [](PyStepper& s, const py::object& h, const py::object& c) { s.reset(h, c); },
            arg("h"), arg("c"))
        .def_property_readonly("state", [](PyStepper& s) { return s.state(); });
}

}  // namespace fastrnn
