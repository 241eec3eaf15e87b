#include "ops/forward_pass.h"

#include "ops/dropout.h"

namespace fastrnn {

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
    std::atomic<index> next_zeros[2] = {{0}, {0}};
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
        zero_past_the_ends(team, next_zeros[0], plan_, call_.output, D * shape.hidden_size);
        zero_past_the_ends(team, next_zeros[1], plan_, call_.cells, D * shape.hidden_size);
    });
}

template <class T>
std::unique_ptr<Cache<T>> recurrent_forward(const Plan& plan, const ForwardCall<T>& call) {
    ForwardPass<T> pass(plan, call);
    pass.run();
    return pass.take_cache();
}

template class ForwardPass<float>;
template class ForwardPass<double>;
template std::unique_ptr<Cache<float>> recurrent_forward(const Plan&, const ForwardCall<float>&);
template std::unique_ptr<Cache<double>> recurrent_forward(const Plan&, const ForwardCall<double>&);

}  // namespace fastrnn
