// What a training forward pass keeps, by shape and recompute mode.
#include "ops/recurrent.h"

namespace fastrnn {
namespace {

// What dropout makes is as soon made again as read.
bool keeps_dropped(const RecurrentShape& shape) {
    return shape.drops() && shape.recompute == Recompute::none;
}
bool keeps_dropped_input(const RecurrentShape& shape) {
    return shape.drops_input() && shape.recompute == Recompute::none;
}

}  // namespace

template <class T>
Cache<T>::Cache(const Plan& plan, const Kernels& k) : kernels(k) {
    const RecurrentShape& shape = plan.shape;
    const KernelTable<T>& table = kernel_table<T>(kernels);
    const CellKernels<T>& cell = table.cell[static_cast<int>(shape.cell)];
    const index L = table.lanes, units = ceil_div(shape.hidden_size, L);
    if (shape.recompute == Recompute::none && cell.keeps_gates) {
        const index width = cell.slots * L, narrow = narrow_width(cell, L, shape.hidden_size);
        gates_layout =
            ChunkLayout(plan.schedule, units, width, narrow > 0 ? narrow : width, sizeof(T));
    }
    if (cell.has_c && shape.recompute == Recompute::checkpoint) {
        checkpoints = plan.schedule.chunks() * units * shape.batch * L;
    } else if (cell.has_c) {
        c_layout = ChunkLayout(plan.schedule, units, L, L, sizeof(T));
    }
    const index each = gates_layout.total + c_layout.total + checkpoints;
    const index elements = shape.layers * shape.directions * each +
                           (shape.layers - 1) * shape.outputs() * (keeps_dropped(shape) ? 2 : 1) +
                           (keeps_dropped_input(shape) ? shape.directions * shape.inputs() : 0);
    bytes = elements * static_cast<index>(sizeof(T));
}

template <class T>
void Cache<T>::allocate(const RecurrentShape& shape) {
    for (index i = 0; i < shape.layers * shape.directions; ++i) {
        gates.emplace_back(gates_layout.total);
        c.emplace_back(c_layout.total + checkpoints);
    }
    for (index i = 0; i < shape.layers - 1; ++i) {
        layer_output.emplace_back(shape.outputs());
        if (keeps_dropped(shape)) layer_dropped.emplace_back(shape.outputs());
    }
    for (index d = 0; d < shape.directions && keeps_dropped_input(shape); ++d)
        input_dropped.emplace_back(shape.inputs());
}

template struct Cache<float>;
template struct Cache<double>;

}  // namespace fastrnn
