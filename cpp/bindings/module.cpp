#include "bindings/arrays.h"
#include "parallel/team.h"

// FASTRNN_VERSION comes from pyproject.toml by way of CMake.
PYBIND11_MODULE(_core, m) {
    namespace py = pybind11;
    m.attr("__version__") = FASTRNN_VERSION;
    fastrnn::bind_runtime(m);
    fastrnn::bind_recurrent(m);
    fastrnn::bind_stepper(m);
    fastrnn::bind_pointwise(m);
    fastrnn::bind_losses(m);
    fastrnn::bind_optimizers(m);
    fastrnn::bind_activations(m);
    fastrnn::bind_steps(m);

    // A long call answers Ctrl-C: the poll runs Python's signal handlers, and their exception ends
    // the call.
    fastrnn::set_poll([] {
        const py::gil_scoped_acquire gil;
        return PyErr_CheckSignals() != 0;
    });
    py::register_exception_translator([](std::exception_ptr error) {
        try {
            if (error) std::rethrow_exception(error);
        } catch (const fastrnn::Interrupted&) {
            fastrnn::set_interrupted();
        }
    });
}
