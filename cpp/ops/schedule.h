// Which sequences are active at which step, and where their rows lie.
//
// Inside the time loop sequences are sorted by length, the longest first, so that those active at
// step s are the first active[s]; the caller's order is kept in `order`. Step s of the reverse
// direction is a sequence's s-th step from its own end, so both directions share one schedule. A
// "token" is one (step, sequence) pair; tokens are numbered step by step, and work and memory go by
// tokens, not by T * B.
#pragma once

#include <vector>

#include "base/types.h"

namespace fastrnn {

struct Schedule {
    // Of the steps first_step .. first_step + steps - 1 of sequences of these lengths [batch]
    // (null: all full). A segment keeps the order of the whole sequences, and with it that of every
    // sum.
    Schedule(index steps, index batch, const std::int64_t* lengths, index first_step = 0);

    index steps;  // of the longest sequence
    index batch;
    std::vector<index> order;        // [batch] the caller's row of each sorted sequence
    std::vector<index> length;       // [batch] of each sorted sequence, within these steps
    std::vector<index> active;       // [steps]
    std::vector<index> first_token;  // [steps + 1]

    // Sums over time are made chunk by chunk. Chunks are aligned to absolute steps and their size
    // depends on the batch alone, so that neither threads nor memory modes change a sum; a segment
    // begins with a chunk.
    index chunk_steps;
    index chunks() const { return ceil_div(steps, chunk_steps); }
    index chunk_begin(index c) const { return c * chunk_steps; }
    index chunk_end(index c) const { return smaller(steps, (c + 1) * chunk_steps); }
    bool full() const {
        return steps == 0 || active[steps - 1] == batch;
    }  // no sequence ends early
    index tokens() const { return first_token[steps]; }
    index chunk_tokens(index c) const {
        return first_token[chunk_end(c)] - first_token[chunk_begin(c)];
    }
};

// Where a [U][tokens of a chunk][width] array keeps each chunk: chunk after chunk, each with its
// own stride from one register of units to the next, which avoids multiples of 4 KiB. Rows of the
// last register may be shorter.
struct ChunkLayout {
    ChunkLayout() = default;
    ChunkLayout(const Schedule& schedule, index units, index width, index last_width,
                index element_size);
    std::vector<index> base, unit_stride;  // [chunks]
    index total = 0;

    static index padded(index elements, index element_size);
};

// A [T, B, F] array with a contiguous last axis. Packed: of the tokens alone, as they are numbered,
// batch_stride from one to the next.
template <class T>
struct Tensor3 {
    T* data = nullptr;
    index time_stride = 0, batch_stride = 0;
    bool packed = false;
};

template <class T>
Tensor3<const T> read_only(const Tensor3<T>& t) {
    return {t.data, t.time_stride, t.batch_stride, t.packed};
}

// An input of which tokens share rows: token (t, b) has row data[t, b] of a table [rows, F]. What
// depends on the row alone is then done once for each row.
struct RowIndex {
    const std::int64_t* data = nullptr;  // null: each token has a row of its own
    index rows = 0, time_stride = 0, batch_stride = 0;
    explicit operator bool() const { return data != nullptr; }

    // [tokens] the row of each, as one direction of time numbers them.
    std::vector<index> of_tokens(const Schedule& schedule, bool reverse) const;
};

// The same array as one direction of time walks it: the row of sequence i at step s lies start(s) +
// offset(s)[i] elements from `base`.
template <class T>
struct TimeView {
    TimeView(const Tensor3<T>& tensor, const Schedule& schedule, bool reverse,
             const RowIndex& rows = {})
        : base(tensor.data),
          step_(reverse ? -tensor.time_stride : tensor.time_stride),
          row_(tensor.batch_stride) {
        if (!base) return;
        if (rows) {
            first_token_ = schedule.first_token.data();
            by_token_ = true;
            offsets_ = rows.of_tokens(schedule, reverse);
            for (index& offset : offsets_) offset *= row_;
            return;
        }
        if (tensor.packed) first_token_ = schedule.first_token.data();
        by_token_ = tensor.packed && reverse;
        if (by_token_) {
            walk_tokens(schedule);
            return;
        }
        offsets_.resize(static_cast<std::size_t>(schedule.batch));
        for (std::size_t i = 0; i < offsets_.size(); ++i) {
            const index last = larger(0, schedule.length[i] - 1);
            offsets_[i] = tensor.packed ? static_cast<index>(i) * row_
                                        : schedule.order[i] * row_ +
                                              (reverse ? last * tensor.time_stride : 0);
        }
    }
    index start(index s) const {
        if (by_token_) return 0;
        return first_token_ ? first_token_[s] * row_ : s * step_;
    }
    const index* offset(index s) const {
        return offsets_.data() + (by_token_ ? first_token_[s] : 0);
    }
    T* at(index s) const { return base ? base + start(s) : nullptr; }

    T* base = nullptr;

private:
    // Backward through packed tokens, no two sequences of different lengths take the same steps.
    void walk_tokens(const Schedule& schedule) {
        offsets_.reserve(static_cast<std::size_t>(schedule.tokens()));
        for (index s = 0; s < schedule.steps; ++s) {
            for (index i = 0; i < schedule.active[s]; ++i) {
                const index t = schedule.length[i] - 1 - s;
                offsets_.push_back((first_token_[t] + i) * row_);
            }
        }
    }

    index step_ = 0, row_ = 0;
    bool by_token_ = false;               // offsets_ are [tokens], else [batch]
    const index* first_token_ = nullptr;  // of a packed array
    std::vector<index> offsets_;
};

}  // namespace fastrnn
