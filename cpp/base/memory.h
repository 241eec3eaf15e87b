// Aligned memory that is reused between calls: a fresh large block costs a page fault for every 4
// KiB, which at these speeds is a tenth of a training step.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "base/types.h"

namespace fastrnn {

// Large: of 2 MiB, where the system has them and the block comes to one. They cost more when they
// are first touched, and pay where a block is read from end to end again and again: beyond some 8
// MiB a processor's cache of page addresses is too small for it. A block that is given back to the
// system may leave the advice on its place in the heap, which does no harm.
enum class Pages { small, large };
#if defined(MADV_HUGEPAGE)
constexpr bool has_large_pages = true;
#else
constexpr bool has_large_pages = false;
#endif

class MemoryPool {
public:
    static constexpr std::size_t alignment = 64;
    static constexpr std::size_t large_page = std::size_t{2} << 20;
    static constexpr std::size_t most_kept = std::size_t{512} << 20;  // bytes of free blocks

    static MemoryPool& instance() {
        static MemoryPool* pool =
            new MemoryPool;  // never destroyed: objects that outlive main() may still return blocks
        return *pool;
    }

    // A block of at least `bytes`; writes its true size and pages, which give() wants to know.
    void* take(std::size_t& bytes, Pages& pages) {
#if defined(__SANITIZE_ADDRESS__)
        // Exactly what was asked for and never reused, so that the sanitizer sees every overrun; of
        // bytes that make NaN, so that the tests see what is read before it is written.
        void* exact = nullptr;
        if (posix_memalign(&exact, alignment, bytes) != 0) throw std::bad_alloc();
        std::memset(exact, 0xff, bytes);
        return exact;
#endif
        bytes = (bytes + 4095) / 4096 * 4096;
        if (!has_large_pages || bytes < large_page) pages = Pages::small;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            std::size_t best = free_.size();
            for (std::size_t i = 0; i < free_.size(); ++i) {
                const Block& b = free_[i];
                const bool fits = b.pages == pages && b.bytes >= bytes && b.bytes <= 2 * bytes;
                if (fits && (best == free_.size() || b.bytes < free_[best].bytes)) best = i;
            }
            if (best < free_.size()) {
                const Block block = free_[best];
                free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(best));
                kept_ -= block.bytes;
                bytes = block.bytes;
                return block.data;
            }
        }
        return fresh(bytes, pages);
    }

    // Held across a fork, so that the child does not inherit a lock that nobody will open.
    std::mutex& mutex() { return mutex_; }

    void give(void* block, std::size_t bytes, Pages pages) {
#if defined(__SANITIZE_ADDRESS__)
        return std::free(block);
#endif
        const std::lock_guard<std::mutex> lock(mutex_);
        try {
            free_.push_back({block, bytes, pages});
        } catch (const std::bad_alloc&) {  // destructors give
            return std::free(block);
        }
        kept_ += bytes;
        while (kept_ > most_kept) {  // the oldest first
            std::free(free_.front().data);
            kept_ -= free_.front().bytes;
            free_.erase(free_.begin());
        }
    }

private:
    struct Block {
        void* data;
        std::size_t bytes;
        Pages pages;
    };

    static void* fresh(std::size_t bytes, Pages pages) {
        const bool large = pages == Pages::large;
        void* block = std::aligned_alloc(large ? large_page : alignment, bytes);
        if (!block) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (large) {  // advice: it may fail
            madvise(block, bytes / large_page * large_page, MADV_HUGEPAGE);
        }
#endif
        return block;
    }

    std::mutex mutex_;
    std::vector<Block> free_;
    std::size_t kept_ = 0;
};

// An owned, uninitialised, aligned array.
template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(index n, Pages pages = Pages::small) : pages_(pages) {
        if (n <= 0) return;
        bytes_ = static_cast<std::size_t>(n) * sizeof(T);
        data_ = static_cast<T*>(MemoryPool::instance().take(bytes_, pages_));
    }
    Buffer(Buffer&& other) noexcept { *this = std::move(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        std::swap(pages_, other.pages_);
        return *this;
    }
    ~Buffer() {
        if (data_) MemoryPool::instance().give(data_, bytes_, pages_);
    }

    T* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }
    T& operator[](index i) const { return data_[i]; }

private:
    T* data_ = nullptr;
    std::size_t bytes_ = 0;
    Pages pages_ = Pages::small;
};

}  // namespace fastrnn
