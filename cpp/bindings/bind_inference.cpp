#include <memory>
#include <optional>

#include "bindings/packed_weights.h"
#include "bindings/plain_function.h"
#include "ops/forward_pass.h"

namespace fastrnn {
namespace {

// Whole sequences with packed weights. A call of a small network takes a few microseconds, half of
// which it took to check, allocate and plan in Python.
class PyInference {
public:
    // `weights` is kept alive by the binding.
    PyInference(const PyPackedWeights& weights, bool batch_first)
        : weights_(weights), batch_first_(batch_first) {}

    // x: [T, B, I] ([B, T, I] if batch_first) or [T, I]; state: None, h or, of an LSTM, a tuple
    // (h, c).
    py::tuple run(py::handle x, py::handle state) {
        return std::visit([&](const auto& stack) { return run_in(stack, x, state); },
                          weights_.stack);
    }

private:
    template <class T>
    py::tuple run_in(const PackedStack<T>& stack, py::handle x, py::handle state) {
        const RecurrentShape& sizes = weights_.shape;
        const index states = sizes.layers * sizes.directions, H = sizes.hidden_size,
                    I = sizes.input_size, width = sizes.directions * H;
        const bool batched =
            !py::isinstance<py::array>(x) || py::reinterpret_borrow<py::array>(x).ndim() != 2;
        const py::array input = checked<const T>(x, "x", batched ? Shape{-1, -1, I} : Shape{-1, I});
        const int time = batched && batch_first_ ? 1 : 0, row = batched ? 1 - time : 0;
        const index steps = input.shape(time), batch = batched ? input.shape(row) : 1;
        if (steps < 1) throw py::value_error("x: expected at least one time step, got 0");
        const std::shared_ptr<const Plan> plan = plan_of(steps, batch);

        py::array output = !batched    ? new_array<T>(steps, width)
                           : time == 0 ? new_array<T>(steps, batch, width)
                                       : new_array<T>(batch, steps, width);
        const auto new_state = [&] {
            return batched ? new_array<T>(states, batch, H) : new_array<T>(states, H);
        };
        ForwardCall<T> call;
        call.packed = &stack;
        call.x = {data_of<const T>(input), stride_of<T>(input, time), stride_of<T>(input, row)};
        call.output = {data_of<T>(output), stride_of<T>(output, time), stride_of<T>(output, row)};
        const py::array hn = new_state();
        call.hn = data_of<T>(hn);
        const bool has_c = kernel_table<T>(stack.kernels).cell[static_cast<int>(sizes.cell)].has_c;
        py::object final_state = hn;
        if (has_c) {
            const py::array cn = new_state();
            call.cn = data_of<T>(cn);
            final_state = py::make_tuple(hn, cn);
        }
        begin_from(state, has_c, batched ? Shape{states, batch, H} : Shape{states, H}, call);
        {
            ForwardPass<T> pass(*plan, call);
            // To let others run meanwhile takes as long as a small product.
            std::optional<py::gil_scoped_release> release;
            if (!pass.brief()) release.emplace();
            pass.run();
        }
        return py::make_tuple(output, final_state);
    }

    template <class T>
    static void begin_from(py::handle state, bool has_c, const Shape& shape, ForwardCall<T>& call) {
        if (state.is_none()) return;
        if (!has_c) {
            call.h0 = contiguous<const T>(state, "h0", shape);
            return;
        }
        if (!py::isinstance<py::tuple>(state) || py::len(state) != 2)
            throw py::type_error("state: expected a tuple (h, c)");
        const auto pair = py::reinterpret_borrow<py::tuple>(state);
        call.h0 = contiguous<const T>(pair[0], "h0", shape);
        call.c0 = contiguous<const T>(pair[1], "c0", shape);
    }

    // The last call's, if it fits; under the interpreter's lock.
    std::shared_ptr<const Plan> plan_of(index steps, index batch) {
        if (!plan_ || plan_->shape.steps != steps || plan_->shape.batch != batch) {
            RecurrentShape shape = weights_.shape;
            shape.steps = steps, shape.batch = batch;
            shape.training = false, shape.first_step = 0;
            plan_ = std::make_shared<const Plan>(shape, nullptr);
        }
        return plan_;
    }

    const PyPackedWeights& weights_;
    const bool batch_first_;
    std::shared_ptr<const Plan> plan_;
};

}  // namespace

void bind_inference(py::module_& m) {
    using py::arg;
    py::class_<PyInference>(m, "Inference")
        .def(py::init<const PyPackedWeights&, bool>(), arg("weights"), arg("batch_first"),
             py::keep_alive<1, 2>())
        .def_property_readonly("run", [](const py::object& self) {
            return plain_function<PyInference, &PyInference::run>(self, "run");
        });
}

}  // namespace fastrnn
