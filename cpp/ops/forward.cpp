// The forward pass of a stack: layer after layer, direction after direction, all in one parallel
// region.
#include "ops/direction_forward.h"
#include "ops/dropout.h"

namespace fastrnn {
namespace {

template <class T>
Tensor3<const T> read_only(const Tensor3<T>& t) {
    return {t.data, t.time_stride, t.batch_stride};
}

}  // namespace

template <class T>
std::unique_ptr<Cache<T>> recurrent_forward(const Plan& plan, const ForwardCall<T>& call) {
    const RecurrentShape& shape = plan.shape;
    const Schedule& schedule = plan.schedule;
    const Kernels kernels = call.packed ? call.packed->kernels : current_kernels();
    const KernelTable<T>& table = kernel_table<T>(kernels);
    const CellKernels<T>& cell = table.cell[static_cast<int>(shape.cell)];
    const index D = shape.directions, H = shape.hidden_size, width = D * H;
    const index units = ceil_div(H, table.lanes), state = shape.batch * H;
    const bool dropping = shape.training && shape.dropout > 0;

    std::unique_ptr<Cache<T>> cache;
    if (shape.training) {
        cache = std::make_unique<Cache<T>>();
        cache->kernels = kernels;
        cache->gates_layout = ChunkLayout(schedule, units, cell.slots * table.lanes, sizeof(T));
        if (cell.has_c) cache->c_layout = ChunkLayout(schedule, units, table.lanes, sizeof(T));
        for (index i = 0; i < shape.layers * D; ++i) {
            cache->gates.emplace_back(cache->gates_layout.total);
            cache->c.emplace_back(cache->c_layout.total);
        }
    }
    // The outputs between layers: kept in training, else two in turn.
    std::vector<Buffer<T>> between, dropped;
    const index between_count = shape.training ? shape.layers - 1 : smaller(2, shape.layers - 1);
    for (index i = 0; i < between_count; ++i) {
        between.emplace_back(shape.steps * shape.batch * width);
        if (dropping) dropped.emplace_back(shape.steps * shape.batch * width);
    }
    const auto inner = [&](std::vector<Buffer<T>>& buffers, index layer) {
        return Tensor3<T>{buffers[static_cast<std::size_t>(layer % between_count)].data(),
                          shape.batch * width, width};
    };

    const Sharing sharing = share_stack<T>(plan, table, 1, cell.panel / cell.gates);
    std::vector<PackedLayer<T>> packed;
    packed.reserve(static_cast<std::size_t>(shape.layers * D));
    std::vector<DirectionForward<T>> directions;
    directions.reserve(static_cast<std::size_t>(shape.layers * D));
    for (index layer = 0; layer < shape.layers; ++layer) {
        const bool last = layer == shape.layers - 1;
        const Tensor3<const T> x =
            layer == 0 ? call.x : read_only(inner(dropping ? dropped : between, layer - 1));
        Tensor3<T> output = last ? call.output : inner(between, layer);
        Tensor3<T> cells = last ? call.cells : Tensor3<T>{};
        for (index d = 0; d < D; ++d) {
            const index which = layer * D + d;
            const auto states = [&](auto* all) { return all ? all + which * state : nullptr; };
            directions.emplace_back(
                plan, kernels, sharing,
                ForwardDirectionCall<T>{x, output, cells, states(call.h0), states(call.c0),
                                        states(call.hn), states(call.cn), shape.layer_input(layer),
                                        d == 1});
            if (cache) {
                directions.back().use_cache(*cache, static_cast<std::size_t>(which));
            } else {
                directions.back().use_scratch();
            }
            if (call.packed) {
                directions.back().use_packed(call.packed->layers[static_cast<std::size_t>(which)]);
            } else {
                packed.push_back(make_packed_layer(table, cell, H, shape.layer_input(layer)));
                directions.back().use_packed(packed.back());
            }
            output.data += H;
            if (cells.data) cells.data += H;
        }
    }

    run(sharing.threads, [&](Team& team) {
        for (index layer = 0; layer < shape.layers; ++layer) {
            if (layer > 0) {
                team.barrier();
                if (dropping) {
                    drop_tokens<T>(team, plan, table, layer - 1, inner(between, layer - 1),
                                   inner(dropped, layer - 1));
                    team.barrier();
                }
            }
            for (index d = 0; d < D; ++d) {
                const auto which = static_cast<std::size_t>(layer * D + d);
                DirectionForward<T>& direction = directions[which];
                if (!call.packed) direction.pack(team, call.weights[which]);
                direction.run(team);
            }
        }
    });
    if (cache) {
        cache->layer_output = std::move(between);
        cache->layer_dropped = std::move(dropped);
    }
    return cache;
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
index Cache<T>::bytes() const {
    std::size_t total = 0;
    for (const auto* buffers : {&gates, &c, &layer_output, &layer_dropped}) {
        for (const Buffer<T>& b : *buffers) total += b.bytes();
    }
    return static_cast<index>(total);
}

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
