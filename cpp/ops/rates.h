// What the machine can do at most, by all threads at once.
#pragma once

#include "base/types.h"

namespace fastrnn {

// Floating-point operations per second of fma in registers.
template <class T>
double fma_peak(int threads, double seconds);

// Bytes per second of an array of `bytes` that each thread reads its part of again and again, to
// and fro: how fast a single row's weights can arrive.
double read_bandwidth(index bytes, int threads, double seconds);

}  // namespace fastrnn
