// The only translation unit that is compiled once per ISA (see CMakeLists.txt): it instantiates
// every kernel for that ISA and exports one function, kernels_<isa>().
#include "kernels/activations.h"
#include "kernels/cells.h"
#include "kernels/layer_norm.h"
#include "kernels/losses.h"
#include "kernels/optimizers.h"
#include "kernels/outer.h"
#include "kernels/pack.h"
#include "kernels/pointwise.h"
#include "kernels/rates.h"

namespace fastrnn {
namespace {

#define FASTRNN_TEXT2(x) #x
#define FASTRNN_TEXT(x) FASTRNN_TEXT2(x)

template <class T>
constexpr KernelTable<T> make_table() {
    return {
        FASTRNN_TEXT(FASTRNN_ISA),
        lanes<T>,
        product_panel,
        outer_panel,
        {cell_kernels<Rnn<Tanh>, T>(), cell_kernels<Rnn<Relu>, T>(), cell_kernels<Lstm, T>(),
         cell_kernels<Gru, T>()},
        product<T>,
        outer<T>,
        pack_gates<T>,
        pack_gates_transposed<T>,
        pack_columns<T>,
        pack_rows<T>,
        column_sums<T>,
        dropout_row<T>,
        softmax_cross_entropy_row<T>,
        cross_entropy_row<T>,
        {binary_row<T>, binary_logits_row<T>, categorical_row<T>, categorical_logits_row<T>,
         mean_squared_row<T>, mean_absolute_row<T>, huber_row<T>},
        sum_of_squares<T>,
        add_to<T>,
        sgd<T>,
        adam<T>,
        rmsprop<T>,
        {activation_kernels<ReluArray, T>(), activation_kernels<LeakyReluArray, T>(),
         activation_kernels<EluArray, T>(), activation_kernels<SeluArray, T>(),
         activation_kernels<SoftplusArray, T>(), activation_kernels<SoftsignArray, T>(),
         activation_kernels<ExponentialArray, T>(), activation_kernels<HardSigmoidArray, T>(),
         activation_kernels<SigmoidArray, T>(), activation_kernels<TanhArray, T>(),
         activation_kernels<SiluArray, T>(), activation_kernels<GeluArray, T>()},
        softmax_row<T>,
        softmax_row_backward<T>,
        layer_norm_row<T>,
        layer_norm_row_backward<T>,
        fma_loop<T>,
        read_loop<T>,
    };
}

constexpr KernelTable<float> table_f32 = make_table<float>();
constexpr KernelTable<double> table_f64 = make_table<double>();

}  // namespace

#define FASTRNN_JOIN2(a, b) a##b
#define FASTRNN_JOIN(a, b) FASTRNN_JOIN2(a, b)

Kernels FASTRNN_JOIN(kernels_, FASTRNN_ISA)() { return {&table_f32, &table_f64}; }

}  // namespace fastrnn
