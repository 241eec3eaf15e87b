#pragma once

namespace fastrnn {

// Floating-point operations per second of fma in registers, by all threads at once.
template <class T>
double fma_peak(int threads, double seconds);

}  // namespace fastrnn
