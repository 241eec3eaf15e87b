// NumPy arrays in, pointers out: what every binding checks, with errors that name the argument.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "ops/schedule.h"

namespace fastrnn {

namespace py = pybind11;

// A shape of the caller's, for the time of a call: a vector would be allocated for every argument.
class Shape {
public:
    Shape(std::initializer_list<index> shape) : begin_(shape.begin()), size_(shape.size()) {}
    Shape(const std::vector<index>& shape) : begin_(shape.data()), size_(shape.size()) {}
    std::size_t size() const { return size_; }
    index operator[](std::size_t i) const { return begin_[i]; }

private:
    const index* begin_;
    std::size_t size_;
};

inline std::string shape_text(const Shape& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i)
        text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

inline std::string shape_text(const py::array& a) {
    return shape_text(std::vector<index>(a.shape(), a.shape() + a.ndim()));
}

template <class T>
const char* type_name() {
    return std::is_same_v<T, float>          ? "float32"
           : std::is_same_v<T, double>       ? "float64"
           : std::is_same_v<T, std::int32_t> ? "int32"
                                             : "int64";
}

// An array of T with this shape and contiguous last axis; -1 stands for any length. Writable unless
// T is const.
template <class T>
py::array checked(const py::handle& object, const char* name, const Shape& shape) {
    using Value = std::remove_const_t<T>;
    if (!py::isinstance<py::array>(object))
        throw py::type_error(std::string(name) + ": expected a numpy.ndarray");
    const auto a = py::reinterpret_borrow<py::array>(object);
    const py::dtype type = a.dtype();
    // The numbers tell at once; the comparison covers types that are equal under two numbers.
    const bool same_type = (type.num() == py::dtype::num_of<Value>() && type.byteorder() == '=') ||
                           py::dtype::of<Value>().equal(type);
    if (!same_type) {
        throw py::type_error(std::string(name) + ": expected dtype " + type_name<Value>() +
                             ", got " + std::string(py::str(type)));
    }
    bool same = a.ndim() == static_cast<py::ssize_t>(shape.size());
    for (std::size_t i = 0; same && i < shape.size(); ++i) {
        same = shape[i] < 0 || a.shape(static_cast<py::ssize_t>(i)) == shape[i];
    }
    if (!same) {
        throw py::value_error(std::string(name) + ": expected shape " + shape_text(shape) +
                              ", got " + shape_text(a));
    }
    if (!std::is_const_v<T> && !a.writeable())
        throw py::value_error(std::string(name) + ": the array is read-only");
    const py::ssize_t size = static_cast<py::ssize_t>(sizeof(Value));
    bool usable = reinterpret_cast<std::uintptr_t>(a.data()) % sizeof(Value) == 0;
    for (py::ssize_t i = 0; i < a.ndim(); ++i)
        usable = usable && (a.shape(i) <= 1 || a.strides(i) % size == 0);
    if (a.ndim() > 0 && a.shape(a.ndim() - 1) > 1)
        usable = usable && a.strides(a.ndim() - 1) == size;
    if (!usable && a.size() > 0) {
        throw py::value_error(std::string(name) +
                              ": expected an aligned array with a contiguous last axis");
    }
    return a;
}

template <class T>
T* data_of(const py::array& a) {
    if constexpr (std::is_const_v<T>) {
        return static_cast<T*>(a.data());
    } else {
        return static_cast<T*>(py::array(a).mutable_data());
    }
}

template <class T>
index stride_of(const py::array& a, int axis) {
    return a.strides(axis) / static_cast<index>(sizeof(T));
}

// The same, contiguous in every axis; null for None.
template <class T>
T* optional(const py::handle& object, const char* name, const Shape& shape) {
    if (object.is_none()) return nullptr;
    const py::array a = checked<T>(object, name, shape);
    if (!(a.flags() & py::array::c_style) && a.size() > 0) {
        throw py::value_error(std::string(name) + ": expected a C-contiguous array");
    }
    return data_of<T>(a);
}

template <class T>
T* required(T* data, const char* name) {
    if (!data) throw py::type_error(std::string(name) + ": expected a numpy.ndarray, got None");
    return data;
}

// The same, and None is an error.
template <class T>
T* contiguous(const py::handle& object, const char* name, const Shape& shape) {
    return required(optional<T>(object, name, shape), name);
}

// [T, B, F] with any strides of the first two axes.
template <class T>
Tensor3<T> tensor3(const py::handle& object, const char* name, const Shape& shape) {
    if (object.is_none()) return {};
    const py::array a = checked<T>(object, name, shape);
    return {data_of<T>(a), stride_of<T>(a, 0), stride_of<T>(a, 1)};
}

// A new array of this shape, C-contiguous; py::array_t's constructor allocates its way there.
template <class T, class... Size>
py::array new_array(Size... size) {
    const auto& numpy = py::detail::npy_api::get();
    const Py_intptr_t shape[]{static_cast<Py_intptr_t>(size)...};
    PyObject* const a =
        numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, py::dtype::of<T>().release().ptr(),
                                    sizeof...(size), shape, nullptr, nullptr, 0, nullptr);
    if (!a) throw py::error_already_set();
    return py::reinterpret_steal<py::array>(a);
}

inline bool is_double(const py::handle& object, const char* name) {
    if (py::isinstance<py::array>(object)) {
        const auto a = py::reinterpret_borrow<py::array>(object);
        if (py::dtype::of<float>().equal(a.dtype())) return false;
        if (py::dtype::of<double>().equal(a.dtype())) return true;
    }
    throw py::type_error(std::string(name) + ": expected a numpy.ndarray of float32 or float64");
}

// Calls body(T()) with the type of the array.
template <class Body>
auto by_type(const py::handle& object, const char* name, const Body& body) {
    return is_double(object, name) ? body(double()) : body(float());
}

inline index rows_of(const py::object& a, const char* name, int axis, int ndim) {
    if (!py::isinstance<py::array>(a) || py::reinterpret_borrow<py::array>(a).ndim() != ndim) {
        throw py::value_error(std::string(name) + ": expected a numpy.ndarray of rank " +
                              std::to_string(ndim));
    }
    return py::reinterpret_borrow<py::array>(a).shape(axis);
}

inline void check_ids(const std::int64_t* ids, index n, index high, const char* name) {
    for (index i = 0; i < n; ++i) {
        if (ids[i] < 0 || ids[i] >= high) {
            throw py::index_error(std::string(name) + ": expected 0 .. " +
                                  std::to_string(high - 1) + ", got " + std::to_string(ids[i]) +
                                  " at position " + std::to_string(i));
        }
    }
}

// A copy of integers of 0 .. high - 1: without the interpreter's lock another thread may write to
// the array after they were checked.
inline std::vector<std::int64_t> ids_of(const py::handle& object, const char* name, index n,
                                        index high) {
    const auto* const ids = contiguous<const std::int64_t>(object, name, {n});
    std::vector<std::int64_t> copy(ids, ids + n);
    check_ids(copy.data(), n, high, name);
    return copy;
}

// Python's exception after Interrupted: that of the signal's handler, where it has set one.
inline void set_interrupted() {
    if (!PyErr_Occurred()) PyErr_SetNone(PyExc_KeyboardInterrupt);
}

void bind_runtime(py::module_& m);
void bind_recurrent(py::module_& m);
void bind_inference(py::module_& m);
void bind_stepper(py::module_& m);
void bind_linear(py::module_& m);
void bind_embedding(py::module_& m);
void bind_dropout(py::module_& m);
void bind_losses(py::module_& m);
void bind_optimizers(py::module_& m);
void bind_activations(py::module_& m);
void bind_steps(py::module_& m);

}  // namespace fastrnn
