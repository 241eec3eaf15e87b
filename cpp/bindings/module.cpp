#include <atomic>

#include "bindings/arrays.h"
#include "parallel/team.h"

namespace {

std::atomic<unsigned long> main_thread{0};

void note_main_thread() {
    const auto threading = pybind11::module_::import("threading");
    main_thread.store(threading.attr("main_thread")().attr("ident").cast<unsigned long>());
}

}  // namespace

// FASTRNN_VERSION comes from pyproject.toml by way of CMake.
PYBIND11_MODULE(_core, m) {
    namespace py = pybind11;
    m.attr("__version__") = FASTRNN_VERSION;
    fastrnn::bind_runtime(m);
    fastrnn::bind_recurrent(m);
    fastrnn::bind_inference(m);
    fastrnn::bind_stepper(m);
    fastrnn::bind_linear(m);
    fastrnn::bind_embedding(m);
    fastrnn::bind_dropout(m);
    fastrnn::bind_losses(m);
    fastrnn::bind_optimizers(m);
    fastrnn::bind_activations(m);
    fastrnn::bind_steps(m);

    // A long call answers Ctrl-C: the poll runs Python's signal handlers, and their exception ends
    // the call. Only the main thread runs them; others need not wait for the interpreter's lock.
    note_main_thread();
    py::module_::import("os").attr("register_at_fork")(py::arg("after_in_child") =
                                                           py::cpp_function(&note_main_thread));
    fastrnn::set_poll([] {
        if (PyThread_get_thread_ident() != main_thread.load()) return false;
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
