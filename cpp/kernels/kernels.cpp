// The only translation unit that is compiled once per ISA (see CMakeLists.txt): it instantiates
// every kernel for that ISA and exports one function, kernels_<isa>().
#include "kernels/gru.h"
#include "kernels/lstm.h"
#include "kernels/pack.h"
#include "kernels/pointwise.h"
#include "kernels/rnn.h"

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
        sigmoid_array<T>,
        tanh_array<T>,
        dropout_row<T>,
        softmax_cross_entropy_row<T>,
        binary_cross_entropy<T>,
        sum_of_squares<T>,
        add_to<T>,
        adam<T>,
        sgd<T>,
        fma_loop<T>,
    };
}

constexpr KernelTable<float> table_f32 = make_table<float>();
constexpr KernelTable<double> table_f64 = make_table<double>();

}  // namespace

#define FASTRNN_JOIN2(a, b) a##b
#define FASTRNN_JOIN(a, b) FASTRNN_JOIN2(a, b)

Kernels FASTRNN_JOIN(kernels_, FASTRNN_ISA)() { return {&table_f32, &table_f64}; }

}  // namespace fastrnn
