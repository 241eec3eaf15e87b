// The floating-point mode of a thread.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastrnn {

class FloatingMode {
public:
#if defined(__x86_64__)
    static FloatingMode current() { return FloatingMode(_mm_getcsr()); }
    void set() const { _mm_setcsr(bits_); }

private:
    using Bits = unsigned;
    static constexpr Bits flushes = 0x8040u;  // flush to zero, denormals are zero
#elif defined(__aarch64__)
    static FloatingMode current() {
        Bits bits;
        asm volatile("mrs %0, fpcr" : "=r"(bits));
        return FloatingMode(bits);
    }
    void set() const { asm volatile("msr fpcr, %0" : : "r"(bits_)); }

private:
    using Bits = std::uint64_t;
    static constexpr Bits flushes = Bits{1} << 24;
#else
    static FloatingMode current() { return FloatingMode(0); }
    void set() const {}

private:
    using Bits = unsigned;
    static constexpr Bits flushes = 0;
#endif

public:
    FloatingMode that_flushes() const { return FloatingMode(bits_ | flushes); }

private:
    explicit FloatingMode(Bits bits) : bits_(bits) {}
    Bits bits_;
};

// A mode while this lives; then the one before.
class WithMode {
public:
    explicit WithMode(FloatingMode mode) : before_(FloatingMode::current()) { mode.set(); }
    ~WithMode() { before_.set(); }
    WithMode(const WithMode&) = delete;
    WithMode& operator=(const WithMode&) = delete;
    FloatingMode before() const { return before_; }

private:
    const FloatingMode before_;
};

}  // namespace fastrnn
