// What the kernels offer to the levels above: one table of function pointers per ISA and type.
//
// Layouts, with L = lanes of a register and U = ceil(H / L) registers of hidden units:
//
//   gates   [U][rows][slots][L]  what a cell stores per unit and step (its file names the slots)
//   units   [U][rows][L]         c, dh, dc: one value a unit
//   packed  [K][P][L] a panel    of P registers, panel after panel; the last may have fewer
//
// The last register of units is "narrow" where its H % L units leave so much of it empty that their
// gates, side by side, fit one register or two. The forward pass then computes and stores them so:
// [rows][slots][H % L], a row filled up to whole registers, and packs the weights' columns, the
// biases too, as [gates][H % L].
//
// "rows" are (time step, sequence) pairs; a stride from one register of units to the next is a
// `unit_stride`. Every pointer is owned by the caller and lives through the call. Rows are found
// through offsets, so that any strides, any order of the sequences and both directions of time are
// read in place.
#pragma once

#include "base/types.h"

namespace fastrnn {

// Whether a single row fetches its weights ahead; dispatch/isa.cpp knows the processor.
extern const bool row_fetches_ahead;

// Where the gates of some rows lie: row r of register u at data + u * unit_stride + (first + r) *
// width, where width is slots * L, in a narrow register narrow_width.
template <class T>
struct GateRows {
    T* data = nullptr;
    index unit_stride = 0, first = 0;
    index narrow_width = 0;  // 0: no register is narrow
};

// c = start + a b, or c += a b: each element one chain of fma in the order of K, on top of `start`
// or of what c holds.
template <class T>
struct ProductArgs {
    index rows = 0;
    // Row i: `runs` runs of `run` elements, `run_stride` apart, from a + a_offset[i].
    const T* a = nullptr;
    const index* a_offset = nullptr;
    index run = 0, runs = 1, run_stride = 0;
    // After them as many shorter ones, tail_stride apart: K = run * runs + tail * tails.
    index tail = 0, tails = 0, tail_stride = 0;
    const T* b = nullptr;          // packed
    index vectors = 0, panel = 0;  // registers in a row of b, and in a panel
    // Register v of row i: c + c_offset[i] + v / group * group_stride + v % group * L.
    T* c = nullptr;
    const index* c_offset = nullptr;
    index group = 1, group_stride = 0;
    index columns = 0;           // elements of a row that exist; those beyond are not touched
    const T* start = nullptr;    // [vectors * L], the first term of every chain; null: 0
    bool fetch = false;          // other cores may just have written a
    bool add = false;            // c += a b; `start` is not read
    bool back_to_front = false;  // as in ForwardStep, the panels
};

// The most rows of c in one call to outer.
constexpr index most_outer_rows = 64;

// c[m, n] (+)= sum over k of a[k, m] b[k, n], summed from 0 in the order of k, then added once.
template <class T>
struct OuterArgs {
    index terms = 0;  // K
    const T* a = nullptr;
    index a_stride = 0;    // from a[k] to a[k + 1]
    const T* b = nullptr;  // one panel [K][vectors][L]
    index vectors = 0;     // 1 .. outer_panel
    // Rows of c: those of group g = 0 .. m / width - 1 begin at c + group_row[g] * c_stride.
    index m = 0;
    index width = 0;        // elements of a in a group
    index width_valid = 0;  // of them, those that have a row in c
    const index* group_row = nullptr;
    T* c = nullptr;
    index c_stride = 0;
    index columns = 0;  // of c, 1 .. vectors * L
    bool add = false;
};

// One time step forward: the recurrent product on top of the input's part, and the cell's
// equations.
template <class T>
struct ForwardStep {
    // Sequence r: `inputs` elements from x + x_offset[r]. Null: the gates hold the input's part;
    // else they are room for what of it cannot wait in registers.
    const T* x = nullptr;
    const index* x_offset = nullptr;
    index inputs = 0;
    const T* x_weight = nullptr;  // weight_ih, packed, from unit_begin on
    const T* bias = nullptr;      // [U][gates][L], narrow: [gates][H % L]
    index rows = 0;
    // [rows] the sequences' numbers: their places in gates, c and every offset array.
    const index* row = nullptr;
    index unit_begin = 0, unit_end = 0;  // registers of hidden units
    index hidden = 0;
    const T* weight = nullptr;  // weight_hh, packed, from unit_begin on
    // Whether to take the registers of units from the last to the first. Where steps of one row do
    // so in turn, the weights that a step reads first are those that the one before has read last.
    bool back_to_front = false;
    const T* candidate_bias = nullptr;  // [U * L], GRU: b_hn; narrow: [gates][H % L]
    const T* h_prev = nullptr;          // sequence r: H elements from h_prev + h_prev_offset[r]
    const index* h_prev_offset = nullptr;
    T* h = nullptr;
    const index* h_offset = nullptr;
    GateRows<T> gates;  // in: the input's part; out: what the backward pass needs, if `keep`
    bool keep = false;
    // Where sequences share the input's part: that of sequence r is row input_row[r] of `input`.
    GateRows<T> input;
    const index* input_row = nullptr;
    const T* c_prev = nullptr;
    T* c = nullptr;
    index c_prev_stride = 0, c_stride = 0;
    T* cells = nullptr;  // the caller's copy of c, like h; may be null
    const index* cells_offset = nullptr;
};

// The gates once more, of any tokens whose h_{t-1} is known: the recurrent product on top of the
// input's part and the gates' activations, to the bits of ForwardStep.
template <class T>
struct RecomputeStep {
    index rows = 0;
    const index* row = nullptr;  // [rows] the tokens' numbers: their places in gates and offsets
    index unit_begin = 0, unit_end = 0;
    index hidden = 0;
    const T* weight = nullptr;  // as in ForwardStep
    const T* candidate_bias = nullptr;
    const T* h_prev = nullptr;  // token r: H elements from h_prev + h_prev_offset[r]
    const index* h_prev_offset = nullptr;
    GateRows<T> gates;  // in: the input's part
};

// c_t from c_{t-1} and the gates, to the bits of ForwardStep.
template <class T>
struct RestoreStep {
    index rows = 0;
    const index* row = nullptr;
    index unit_begin = 0, unit_end = 0;
    index hidden = 0;
    GateRows<T> gates;
    const T* c_prev = nullptr;
    T* c = nullptr;
    index c_prev_stride = 0, c_stride = 0;
};

// One time step backward, from the gradient of h_t (and c_t) to those of the gates' arguments.
template <class T>
struct BackwardStep {
    index rows = 0;
    const index* row = nullptr;
    index unit_begin = 0, unit_end = 0;
    index hidden = 0;
    const T* doutput = nullptr;  // may be null
    const index* doutput_offset = nullptr;
    const T* dcells = nullptr;  // may be null
    const index* dcells_offset = nullptr;
    T* dh = nullptr;  // in: the gradient from step t + 1; out: the part of it that bypasses the
                      // product to t - 1
    T* dc = nullptr;  // in: of c_t from step t + 1; out: of c_{t-1}
    index state_stride = 0;
    GateRows<T> gates;  // where CellKernels::keeps_gates, else h
    const T* h = nullptr;
    const index* h_offset = nullptr;
    const T* c = nullptr;
    const T* c_prev = nullptr;
    index c_stride = 0, c_prev_stride = 0;
    const T* h_prev = nullptr;
    const index* h_prev_offset = nullptr;
    T* dgates = nullptr;
    index dgates_stride = 0;
};

// A cell's numbers. The input's product fills slots x_slot .. x_slot + gates - 1, the recurrent one
// works on h_slot ...; x_gate and h_gate say which of the parameters' blocks of H rows each of
// those slots belongs to.
template <class T>
struct CellKernels {
    int slots, gates, x_slot, h_slot;
    int x_gate[4], h_gate[4];
    int panel;       // registers in a panel of either weight
    int row_panels;  // that a single row takes at once
    bool has_c;
    bool keeps_gates;  // else the backward pass needs no more of a step than h_t
    void (*forward)(const ForwardStep<T>&);
    void (*backward)(const BackwardStep<T>&);
    void (*recompute)(const RecomputeStep<T>&);  // null where no gates are kept
    void (*restore_c)(const RestoreStep<T>&);    // null without c
};

constexpr index most_narrow_registers = 2;

// Elements of a narrow register's row of gates; 0 where the last register is like the others.
template <class T>
index narrow_width(const CellKernels<T>& cell, index L, index hidden) {
    const index n = hidden % L, fit = smaller(most_narrow_registers, cell.gates - 1);
    const bool narrow = n > 0 && cell.panel == cell.gates && cell.gates * n <= fit * L;
    return narrow ? round_up(cell.slots * n, L) : 0;
}

// Packing. `gate` maps a register's place in a group of `gates` to a block of `hidden` rows of the
// weight.
template <class T>
struct PackGates {
    const T* weight = nullptr;  // [gates * hidden, K], rows `stride` apart
    index stride = 0, hidden = 0, k = 0;
    int gates = 1;
    const int* gate = nullptr;
    index unit_begin = 0, unit_end = 0, panel = 0;
    bool narrow = false;  // whether the last register of units is
    T* packed = nullptr;
};

// y = f(x), and dx = dy f'(x) from what was kept: x where `from_input`, else y.
template <class T>
struct ActivationKernels {
    bool from_input;
    void (*forward)(const T* x, T* y, index n);
    void (*backward)(const T* kept, const T* dy, T* dx, index n);
};

// One row of layer normalisation; mean and rstd are written forward and read backward.
template <class T>
struct LayerNormRow {
    const T* x;
    index n;
    const T* gamma;  // [n] or null: 1
    const T* beta;   // [n] or null: 0
    T *mean, *rstd;
};

// ---- losses and optimisers ---------------------------------------------------------------------

// Losses of rows whose targets are as wide as the predictions; losses.h has their equations.
enum class RowLoss {
    binary,
    binary_logits,
    categorical,
    categorical_logits,
    mean_squared,
    mean_absolute,
    huber
};
constexpr int row_loss_count = 7;

// The loss of predictions y [n]; dy (may be null) = weight * its gradient. `parameter` is the label
// smoothing of a cross-entropy, Huber's delta.
template <class T>
using RowLossKernel = T (*)(const T* y, const T* target, index n, T weight, T parameter, T* dy);

// A gradient is read as clamp(g * scale, -limit, limit).
template <class T>
struct GradientClip {
    T scale, limit;
};

// A parameter, its gradient and what the optimiser keeps of it: SGD the velocity; Adam the two
// moments and AMSGrad's largest second one; RMSprop the mean square, the mean (centered) and the
// velocity (momentum). What is not kept is null.
constexpr int most_slots = 3;
template <class T>
struct ParameterSlice {
    T* value;
    const T* gradient;
    T* slot[most_slots];
};

// keep = 1 - lr * weight_decay in all of them.
template <class T>
struct SgdStep {
    T lr, keep, momentum;
    bool nesterov;
};
template <class T>
struct AdamStep {
    T alpha, keep, one_minus_beta1, one_minus_beta2, eps;  // alpha: lr, bias-corrected
};
template <class T>
struct RmspropStep {
    T lr, keep, rho, one_minus_rho, momentum, eps;
};

template <class T>
struct KernelTable {
    const char* isa;
    int lanes;
    int product_panel;  // registers in a panel of a plain product's b, at most
    int outer_panel;
    CellKernels<T> cell[cell_count];

    void (*product)(const ProductArgs<T>&);
    void (*outer)(const OuterArgs<T>&);
    // weight.T for the products with x and h: columns are (unit, gate), k runs along the weight's
    // rows.
    void (*pack_gates)(const PackGates<T>&);
    // weight itself for dgates weight: k runs over (unit, gate, lane), units that exist only;
    // columns column_begin .. column_end of the weight, in panels of `panel` registers.
    void (*pack_gates_transposed)(const PackGates<T>&, index column_begin, index column_end);
    // weight.T [K, N] from weight [N, K], N = `columns`, in panels of `panel` registers.
    void (*pack_columns)(const T* weight, index stride, index columns, index k, index panel,
                         T* packed);
    // packed[i][0 .. width) = source[offset[i]][0 .. columns), zeros beyond `columns`.
    void (*pack_rows)(const T* source, const index* offset, index rows, index columns, index width,
                      T* packed);
    // sums[j] += the sum over rows of a[row][j], j < columns
    void (*column_sums)(const T* a, index stride, index rows, index columns, T* sums);

    // y = x * scale where the mask (philox.h) keeps, else 0, for units 0 .. n-1 of one row
    void (*dropout_row)(const T* x, T* y, index n, std::uint64_t seed, std::uint32_t stream,
                        std::uint32_t step, std::uint32_t row, std::uint32_t threshold, T scale);
    // -log softmax(logits)[label]; dlogits (may be null) = weight * (softmax - one_hot)
    T(*softmax_cross_entropy_row)
    (const T* logits, index classes, index label, T weight, T* dlogits);
    // -log(p[label] / sum(p)); dp (may be null) = weight * its gradient
    T(*cross_entropy_row)
    (const T* p, index classes, index label, T weight, T* dp);
    RowLossKernel<T> row_loss[row_loss_count];
    double (*sum_of_squares)(const T* x, index n);
    void (*add_to)(const T* x, T* y, index n);
    void (*sgd)(SgdStep<T>, GradientClip<T>, const ParameterSlice<T>&, index n);
    void (*adam)(AdamStep<T>, GradientClip<T>, const ParameterSlice<T>&, index n);
    void (*rmsprop)(RmspropStep<T>, GradientClip<T>, const ParameterSlice<T>&, index n);
    ActivationKernels<T> activation[activation_count];
    void (*softmax_row)(const T* x, T* y, index n);
    void (*softmax_row_backward)(const T* y, const T* dy, T* dx, index n);
    void (*layer_norm_row)(const LayerNormRow<T>&, T eps, T* y);
    // dx may be null; dgamma and dbeta may be null and are added to
    void (*layer_norm_row_backward)(const LayerNormRow<T>&, const T* dy, T* dx, T* dgamma,
                                    T* dbeta);
    double (*fma_loop)(index iterations);  // returns the floating-point operations done
    void (*read_loop)(const T* x, index n);
};

struct Kernels {
    const KernelTable<float>* f32;
    const KernelTable<double>* f64;
};

}  // namespace fastrnn
