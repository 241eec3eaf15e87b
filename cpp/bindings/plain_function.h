// A method as a plain function of the interpreter's: pybind11 takes 0.1 us to find the object
// behind its handle and the right overload, as long as a small network's step.
#pragma once

#include <pybind11/pybind11.h>

#include <new>
#include <utility>

#include "bindings/arrays.h"
#include "parallel/team.h"

namespace fastrnn {

template <class Method>
struct PlainFunction;

template <class Object, class Result, class... Arguments>
struct PlainFunction<Result (Object::*)(Arguments...)> {
    using Method = Result (Object::*)(Arguments...);
    static constexpr std::size_t count = sizeof...(Arguments);

    // `self` is a capsule of the object that keeps its owner.
    template <Method method>
    static PyObject* call(PyObject* self, PyObject* const* given, Py_ssize_t n) {
        if (n != static_cast<Py_ssize_t>(count)) {
            PyErr_Format(PyExc_TypeError, "expected %zu arguments, got %zd", count, n);
            return nullptr;
        }
        try {
            Object& object = *static_cast<Object*>(PyCapsule_GetPointer(self, nullptr));
            return apply<method>(object, given, std::make_index_sequence<count>()).release().ptr();
        } catch (py::error_already_set& error) {
            error.restore();
        } catch (const py::builtin_exception& error) {
            error.set_error();
        } catch (const Interrupted&) {
            set_interrupted();
        } catch (const std::bad_alloc&) {
            PyErr_NoMemory();
        } catch (const std::exception& error) {
            PyErr_SetString(PyExc_RuntimeError, error.what());
        }
        return nullptr;
    }

private:
    template <Method method, std::size_t... i>
    static Result apply(Object& object, PyObject* const* given, std::index_sequence<i...>) {
        return (object.*method)(py::handle(given[i])...);
    }
};

// `owner`: the Python object of an `Object`, kept by the function. Object, method: what takes
// handles and returns an object of pybind11's.
template <class Object, auto method>
py::object plain_function(const py::object& owner, const char* name) {
    using Function = PlainFunction<decltype(method)>;
    // The interpreter's type for functions of any signature.
    const auto call = reinterpret_cast<PyCFunction>(
        reinterpret_cast<void (*)()>(&Function::template call<method>));
    static PyMethodDef definition{name, call, METH_FASTCALL, nullptr};
    const auto self = py::reinterpret_steal<py::object>(
        PyCapsule_New(&owner.cast<Object&>(), nullptr, [](PyObject* capsule) {
            Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetContext(capsule)));
        }));
    if (!self) throw py::error_already_set();
    PyCapsule_SetContext(self.ptr(), py::object(owner).release().ptr());
    auto function = py::reinterpret_steal<py::object>(PyCFunction_New(&definition, self.ptr()));
    if (!function) throw py::error_already_set();
    return function;
}

}  // namespace fastrnn
