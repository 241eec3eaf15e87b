#include "ops/weights.h"

namespace fastrnn {

template <class T>
PackedStack<T> pack_stack(const Plan& plan, const std::vector<LayerWeights<const T>>& weights) {
    const RecurrentShape& shape = plan.shape;
    PackedStack<T> stack{current_kernels(), {}};
    const KernelTable<T>& table = kernel_table<T>(stack.kernels);
    const CellKernels<T>& cell = table.cell[static_cast<int>(shape.cell)];
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const index input = shape.layer_input(static_cast<index>(i) / shape.directions);
        stack.layers.push_back(make_packed_layer(table, cell, shape.hidden_size, input));
        pack_layer(table, cell, weights[i], shape.hidden_size, input, 0,
                   ceil_div(shape.hidden_size, table.lanes), stack.layers.back());
    }
    return stack;
}

template <class T>
index PackedStack<T>::bytes() const {
    std::size_t total = 0;
    for (const PackedLayer<T>& p : layers) {
        total += p.w_ih.bytes() + p.w_hh.bytes() + p.bias.bytes() + p.candidate_bias.bytes();
    }
    return static_cast<index>(total);
}

template struct PackedStack<float>;
template struct PackedStack<double>;
template PackedStack<float> pack_stack(const Plan&, const std::vector<LayerWeights<const float>>&);
template PackedStack<double> pack_stack(const Plan&,
                                        const std::vector<LayerWeights<const double>>&);

}  // namespace fastrnn
