// Stacks of recurrent layers: what the bindings call. The stacks are in forward_pass.h and
// backward_pass.h; the time loops, once for all cells and ways of sharing the work, in
// direction_forward.h and direction_backward.h.
#pragma once

#include <memory>
#include <vector>

#include "base/memory.h"
#include "dispatch/isa.h"
#include "ops/schedule.h"

namespace fastrnn {

// What a training forward pass does not keep and the backward pass computes again, chunk by chunk:
// nothing; the gates; the gates and the LSTM's c, but for that before each chunk. The results are
// the same bits.
enum class Recompute { none, gates, checkpoint };

struct RecurrentShape {
    Cell cell = Cell::lstm;
    index steps = 0, batch = 0, input_size = 0, hidden_size = 0;
    index layers = 1, directions = 1;
    double dropout = 0;        // between layers, in training
    double input_dropout = 0;  // of the first layer's input, in training: a mask a sequence
    std::uint64_t seed = 0;
    bool training = false;
    Recompute recompute = Recompute::none;
    // Of a segment of longer sequences, its place in them: a multiple of Schedule::chunk_steps.
    index first_step = 0;

    bool drops() const { return training && dropout > 0 && layers > 1; }
    bool drops_input() const { return training && input_dropout > 0; }
    index inputs() const { return steps * batch * input_size; }                 // elements
    index outputs() const { return steps * batch * directions * hidden_size; }  // of a layer
    index layer_input(index layer) const {
        return layer == 0 ? input_size : directions * hidden_size;
    }
};

// One validated description of a call: the shape and the lengths, of a segment those of the whole
// sequences.
struct Plan {
    Plan(const RecurrentShape& s, const std::int64_t* lengths)
        : shape(s), schedule(s.steps, s.batch, lengths, s.first_step), ragged(lengths != nullptr) {}
    const RecurrentShape shape;
    const Schedule schedule;
    const bool ragged;
};

// PyTorch's parameters of one layer and direction; rows of the matrices may be further apart than
// they are long.
template <class T>
struct LayerWeights {
    T* w_ih = nullptr;  // [gates * H, K]
    T* w_hh = nullptr;  // [gates * H, H]
    T* b_ih = nullptr;  // [gates * H] or null
    T* b_hh = nullptr;
    index w_ih_stride = 0, w_hh_stride = 0;
};

// The packed form of one layer and direction, for the forward pass.
template <class T>
struct PackedLayer {
    Buffer<T> w_ih, w_hh;
    Buffer<T> bias;            // [U][gates][L] b_ih, and b_hh where one sum takes both
    Buffer<T> candidate_bias;  // [U * L] GRU: b_hn, which the reset gate multiplies
};

template <class T>
struct PackedStack {
    Kernels kernels;
    std::vector<PackedLayer<T>> layers;  // layer * directions + direction
    index bytes() const;
};

// What the backward pass needs besides x, the weights and the output.
template <class T>
struct Cache {
    Cache(const Plan& plan, const Kernels& kernels);  // without the buffers
    void allocate(const RecurrentShape& shape);

    Kernels kernels;
    ChunkLayout gates_layout, c_layout;  // empty where not kept
    index checkpoints = 0;               // elements of c with Recompute::checkpoint
    // Per layer and direction. c: [chunks][U][B][L] with Recompute::checkpoint, the one before each
    // chunk.
    std::vector<Buffer<T>> gates, c;
    std::vector<Buffer<T>> layer_output;   // [layers - 1] [T, B, D * H]
    std::vector<Buffer<T>> layer_dropped;  // the same after dropout; empty without or if recomputed
    std::vector<Buffer<T>> input_dropped;  // per direction [T, B, I]; likewise
    index bytes;                           // of all buffers
};

template <class T>
struct ForwardCall {
    Tensor3<const T> x;  // where there is an index, the table: row after row, batch_stride apart
    RowIndex x_rows;     // not with a dropped input
    std::vector<LayerWeights<const T>> weights;  // per layer and direction; empty if packed
    const PackedStack<T>* packed = nullptr;
    const T* h0 = nullptr;  // [layers * directions, B, H]; null: zeros
    const T* c0 = nullptr;
    Tensor3<T> output;
    T* hn = nullptr;
    T* cn = nullptr;
    Tensor3<T> cells;  // of the last layer; data may be null
    index turn = 0;    // of a stream, a step a call: odd or even, for ForwardStep::back_to_front
};

template <class T>
struct BackwardCall {
    Tensor3<const T> x;
    RowIndex x_rows;  // as in the forward pass; of segments all have the same table
    std::vector<LayerWeights<const T>> weights;
    const T* h0 = nullptr;
    const T* c0 = nullptr;
    Tensor3<const T> output;
    Tensor3<const T> doutput, dcells;  // data may be null
    const T* dhn = nullptr;
    const T* dcn = nullptr;
    Tensor3<T> dx;  // data may be null; where there is an index, the table's
    T* dh0 = nullptr;
    T* dc0 = nullptr;
    std::vector<LayerWeights<T>> dweights;  // contiguous
    // dweights hold the sums over the segments after this one: add to them.
    bool accumulate = false;
    // Of a segment, with x_rows: BackwardWorkspace::row_sums, which go on from one to the next; the
    // first one in time makes the table's dx and dweights.w_ih of them.
    T* row_sums = nullptr;
};

// Elements of BackwardCall::row_sums for a table of so many rows.
template <class T>
index row_sums_size(const Plan& plan, const Cache<T>& cache, index rows);

template <class T>
PackedStack<T> pack_stack(const Plan& plan, const std::vector<LayerWeights<const T>>& weights);

// The cache; null unless plan.shape.training.
template <class T>
std::unique_ptr<Cache<T>> recurrent_forward(const Plan& plan, const ForwardCall<T>& call);

template <class T>
void recurrent_backward(const Plan& plan, const Cache<T>& cache, const BackwardCall<T>& call);

}  // namespace fastrnn
