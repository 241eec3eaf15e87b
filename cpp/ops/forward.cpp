#include "ops/dropout.h"
#include "ops/forward_pass.h"

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
ForwardPass<T>::ForwardPass(const Plan& plan, const ForwardCall<T>& call)
    : plan_(plan),
      call_(call),
      kernels_(call.packed ? call.packed->kernels : current_kernels()),
      table_(kernel_table<T>(kernels_)) {
    const RecurrentShape& shape = plan.shape;
    const CellKernels<T>& cell = table_.cell[static_cast<int>(shape.cell)];
    const index D = shape.directions, H = shape.hidden_size;
    const index state = shape.batch * H;

    if (shape.training) {
        cache_ = std::make_unique<Cache<T>>(plan, kernels_);
        cache_->allocate(shape);
    }
    if (!shape.training) {
        for (index i = 0; i < smaller(2, shape.layers - 1); ++i)
            between_.emplace_back(shape.outputs());
    } else if (shape.drops() && cache_->layer_dropped.empty()) {
        dropped_.emplace_back(shape.outputs());
    }
    for (index d = 0; d < D && shape.drops_input() && cache_->input_dropped.empty(); ++d)
        inputs_.emplace_back(shape.inputs());

    sharing_ = share_stack<T>(plan, table_, false, cell.panel / cell.gates);
    packed_.reserve(static_cast<std::size_t>(shape.layers * D));
    directions_.reserve(static_cast<std::size_t>(shape.layers * D));
    for (index layer = 0; layer < shape.layers; ++layer) {
        const bool last = layer == shape.layers - 1;
        Tensor3<const T> x = call.x;
        if (layer > 0) x = read_only(shape.drops() ? dropped_of(layer - 1) : output_of(layer - 1));
        Tensor3<T> output = last ? call.output : output_of(layer);
        Tensor3<T> cells = last ? call.cells : Tensor3<T>{};
        for (index d = 0; d < D; ++d) {
            const index which = layer * D + d;
            const auto states = [&](auto* all) { return all ? all + which * state : nullptr; };
            if (layer == 0 && shape.drops_input()) x = read_only(input_of(d));
            directions_.emplace_back(
                plan, kernels_, sharing_,
                ForwardDirectionCall<T>{x, layer == 0 ? call.x_rows : RowIndex{}, output, cells,
                                        states(call.h0), states(call.c0), states(call.hn),
                                        states(call.cn), shape.layer_input(layer), d == 1,
                                        call.turn});
            if (cache_) {
                directions_.back().use_cache(*cache_, static_cast<std::size_t>(which));
            } else {
                directions_.back().use_scratch();
            }
            if (call.packed) {
                directions_.back().use_packed(call.packed->layers[static_cast<std::size_t>(which)]);
            } else {
                packed_.push_back(make_packed_layer(table_, cell, H, shape.layer_input(layer)));
                directions_.back().use_packed(packed_.back());
            }
            output.data += H;
            if (cells.data) cells.data += H;
        }
    }
}

template <class T>
void ForwardPass<T>::run() {
    const RecurrentShape& shape = plan_.shape;
    const index D = shape.directions;
    const auto run_direction = [&](Team& team, index which) {
        const auto i = static_cast<std::size_t>(which);
        if (!call_.packed) directions_[i].pack(team, call_.weights[i]);
        directions_[i].run(team);
    };
    fastrnn::run(sharing_.team(), sharing_.work, [&](Team& team) {
        for (index d = 0; d < D && shape.drops_input(); ++d)
            drop_input<T>(team, plan_, table_, d, call_.x, input_of(d));
        for (index layer = 0; layer < shape.layers; ++layer) {
            if (layer > 0 || shape.drops_input()) {
                team.barrier();
                if (layer > 0 && shape.drops()) {
                    drop_tokens<T>(team, plan_, table_, layer - 1, output_of(layer - 1),
                                   dropped_of(layer - 1));
                    team.barrier();
                }
            }
            for_directions(team, sharing_, D,
                           [&](Team& part, index d) { run_direction(part, layer * D + d); });
        }
    });
}

template <class T>
std::unique_ptr<Cache<T>> recurrent_forward(const Plan& plan, const ForwardCall<T>& call) {
    ForwardPass<T> pass(plan, call);
    pass.run();
    return pass.take_cache();
}

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
        total += p.w_ih.bytes() + p.w_hh.bytes() + p.start.bytes() + p.start_recurrent.bytes();
    }
    return static_cast<index>(total);
}

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

template class ForwardPass<float>;
template class ForwardPass<double>;
template struct PackedStack<float>;
template struct PackedStack<double>;
template struct Cache<float>;
template struct Cache<double>;
template std::unique_ptr<Cache<float>> recurrent_forward(const Plan&, const ForwardCall<float>&);
template std::unique_ptr<Cache<double>> recurrent_forward(const Plan&, const ForwardCall<double>&);
template PackedStack<float> pack_stack(const Plan&, const std::vector<LayerWeights<const float>>&);
template PackedStack<double> pack_stack(const Plan&,
                                        const std::vector<LayerWeights<const double>>&);

}  // namespace fastrnn
