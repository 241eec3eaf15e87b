// Aligned memory that is reused between calls: a fresh large block costs a page fault for every 4
// KiB, which at these speeds is a tenth of a training step.
#pragma once

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "base/types.h"

namespace fastrnn {

class MemoryPool {
public:
    static constexpr std::size_t alignment = 64;
    static constexpr std::size_t most_kept = std::size_t{512} << 20;  // bytes of free blocks

    static MemoryPool& instance() {
        static MemoryPool* pool =
            new MemoryPool;  // never destroyed: objects that outlive main() may still return blocks
        return *pool;
    }

    // A block of at least `bytes`; writes its true size.
    void* take(std::size_t& bytes) {
#if defined(__SANITIZE_ADDRESS__)
        // Exactly what was asked for and never reused, so that the sanitizer sees every overrun; of
        // bytes that make NaN, so that the tests see what is read before it is written.
        void* exact = nullptr;
        if (posix_memalign(&exact, alignment, bytes) != 0) throw std::bad_alloc();
        std::memset(exact, 0xff, bytes);
        return exact;
#endif
        bytes = (bytes + 4095) / 4096 * 4096;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            std::size_t best = free_.size();
            for (std::size_t i = 0; i < free_.size(); ++i) {
                const bool fits = free_[i].second >= bytes && free_[i].second <= 2 * bytes;
                if (fits && (best == free_.size() || free_[i].second < free_[best].second))
                    best = i;
            }
            if (best < free_.size()) {
                const auto block = free_[best];
                free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(best));
                kept_ -= block.second;
                bytes = block.second;
                return block.first;
            }
        }
        void* block = std::aligned_alloc(alignment, bytes);
        if (!block) throw std::bad_alloc();
        return block;
    }

    // Held across a fork, so that the child does not inherit a lock that nobody will open.
    std::mutex& mutex() { return mutex_; }

    void give(void* block, std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
        return std::free(block);
#endif
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.emplace_back(block, bytes);
        kept_ += bytes;
        while (kept_ > most_kept) {  // the oldest first
            std::free(free_.front().first);
            kept_ -= free_.front().second;
            free_.erase(free_.begin());
        }
    }

private:
    std::mutex mutex_;
    std::vector<std::pair<void*, std::size_t>> free_;
    std::size_t kept_ = 0;
};

// An owned, uninitialised, aligned array.
template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(index n) {
        if (n <= 0) return;
        bytes_ = static_cast<std::size_t>(n) * sizeof(T);
        data_ = static_cast<T*>(MemoryPool::instance().take(bytes_));
    }
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Buffer() {
        if (data_) MemoryPool::instance().give(data_, bytes_);
    }

    T* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }
    T& operator[](index i) const { return data_[i]; }

private:
    T* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace fastrnn
