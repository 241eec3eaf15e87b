#include "ops/backward_pass.h"

#include "ops/dropout.h"

namespace fastrnn {
namespace {

// to += from for the valid tokens of [T, B, width].
template <class T>
void add_tokens(Team& team, const Plan& plan, const KernelTable<T>& table, index width,
                const Tensor3<const T>& from, const Tensor3<T>& to) {
    const TimeView<const T> source(from, plan.schedule, false);
    const TimeView<T> target(to, plan.schedule, false);
    for (index i = team.rank(); i < plan.shape.batch && !team.cancelled(); i += team.size()) {
        for (index s = 0; s < plan.schedule.length[static_cast<std::size_t>(i)]; ++s) {
            table.add_to(source.at(s) + source.offset(s)[i], target.at(s) + target.offset(s)[i],
                         width);
        }
    }
}

}  // namespace

template <class T>
BackwardPass<T>::BackwardPass(const Plan& plan, const Cache<T>& cache, const BackwardCall<T>& call)
    : plan_(plan),
      cache_(cache),
      call_(call),
      table_(kernel_table<T>(cache.kernels)),
      sharing_(share_stack<T>(plan, table_, true, 1)) {
    const RecurrentShape& shape = plan.shape;
    const CellKernels<T>& cell = table_.cell[static_cast<int>(shape.cell)];
    const index D = shape.directions, H = shape.hidden_size;

    const index widest_input =
        larger(shape.input_size, shape.layers > 1 ? shape.layer_input(1) : 0);
    for (int i = 0; i < (sharing_.apart ? 2 : 1); ++i) {
        work_.emplace_back(plan, table_, cell, sharing_.team(), widest_input, call.x_rows.rows,
                           call.row_sums);
    }
    for (index i = 0; i < smaller(2, shape.layers - 1); ++i) between_.emplace_back(shape.outputs());
    if (shape.drops() && cache.layer_dropped.empty()) dropped_.emplace_back(shape.outputs());
    for (index d = 0; d < D && shape.drops_input() && cache.input_dropped.empty(); ++d)
        inputs_.emplace_back(shape.inputs());
    if (D == 2 && (call.dx.data || shape.layers > 1)) {
        const index width = call.dx.data ? widest_input : shape.layer_input(1);
        reverse_dx_ = Buffer<T>(larger(shape.steps * shape.batch, call.x_rows.rows) * width);
    }

    const index unit_panel =
        even_panel(ceil_div(H, table_.lanes) / sharing_.members, table_.product_panel);
    for (index layer = 0; layer < shape.layers; ++layer)
        for (index d = 0; d < D; ++d) calls_.push_back(direction_call(layer, d));
    directions_.reserve(calls_.size());
    for (std::size_t which = 0; which < calls_.size(); ++which) {
        directions_.emplace_back(plan, cache, which, sharing_, unit_panel,
                                 work_[which % work_.size()], calls_[which]);
    }
}

template <class T>
BackwardDirectionCall<T> BackwardPass<T>::direction_call(index layer, index direction) const {
    const RecurrentShape& shape = plan_.shape;
    const index H = shape.hidden_size, which = layer * shape.directions + direction;
    const bool first = layer == 0, last = layer == shape.layers - 1;
    const auto part = [&](auto tensor) {
        if (tensor.data) tensor.data += direction * H;
        return tensor;
    };
    const auto states = [&](auto* all) { return all ? all + which * shape.batch * H : nullptr; };
    BackwardDirectionCall<T> c;
    if (first) {
        c.x = shape.drops_input() ? read_only(input_of(direction)) : call_.x;
        c.x_rows = call_.x_rows;
    } else {
        c.x = read_only(handed_on(layer - 1));
    }
    c.output = part(last ? call_.output : read_only(output_of(layer)));
    c.doutput = part(last ? call_.doutput : read_only(gradient_of_output(layer)));
    c.dcells = part(last ? call_.dcells : Tensor3<const T>{});
    c.dx = first ? call_.dx : gradient_of_output(layer - 1);
    if (direction == 1 && c.dx.data) c.dx = reverse_dx_of(layer);
    c.h0 = states(call_.h0), c.c0 = states(call_.c0);
    c.dhn = states(call_.dhn), c.dcn = states(call_.dcn);
    c.dh0 = states(call_.dh0), c.dc0 = states(call_.dc0);
    c.weights = call_.weights[static_cast<std::size_t>(which)];
    c.dweights = call_.dweights[static_cast<std::size_t>(which)];
    c.accumulate = call_.accumulate;
    c.input = shape.layer_input(layer);
    c.reverse = direction == 1;
    return c;
}

template <class T>
void BackwardPass<T>::run() {
    const RecurrentShape& shape = plan_.shape;
    std::atomic<index> next_zeros{0};
    fastrnn::run(sharing_.team(), sharing_.work, [&](Team& team) {
        for (index layer = shape.layers - 1; layer >= 0; --layer) {
            drop_again(team, layer);
            for_directions(team, sharing_, shape.directions, [&](Team& part, index d) {
                directions_[static_cast<std::size_t>(layer * shape.directions + d)].run(part);
            });
            if (sharing_.apart) team.barrier();
            if (layer > 0) finish_gradient_of_output(team, layer - 1);
        }
        if (call_.dx.data) finish_gradient_of_input(team);
        if (!call_.x_rows) zero_past_the_ends(team, next_zeros, plan_, call_.dx, shape.input_size);
    });
}

// What dropout made of a layer's input, where it was not kept.
template <class T>
void BackwardPass<T>::drop_again(Team& team, index layer) const {
    if (layer > 0 && !dropped_.empty()) {
        drop_tokens<T>(team, plan_, table_, layer - 1, output_of(layer - 1), handed_on(layer - 1));
        team.barrier();
    }
    if (layer == 0 && !inputs_.empty()) {
        for (index d = 0; d < plan_.shape.directions; ++d)
            drop_input<T>(team, plan_, table_, d, call_.x, input_of(d));
        team.barrier();
    }
}

// From what the next layer's directions gave: their sum, and back through dropout.
template <class T>
void BackwardPass<T>::finish_gradient_of_output(Team& team, index layer) const {
    const RecurrentShape& shape = plan_.shape;
    const Tensor3<T> gradient = gradient_of_output(layer);
    // A member has the same sequences in both.
    if (shape.directions == 2) {
        add_tokens<T>(team, plan_, table_, shape.layer_input(layer + 1),
                      read_only(reverse_dx_of(layer + 1)), gradient);
    }
    if (shape.drops()) drop_tokens<T>(team, plan_, table_, layer, gradient, gradient);
    if (shape.directions == 2 || shape.drops()) team.barrier();
}

template <class T>
void BackwardPass<T>::finish_gradient_of_input(Team& team) const {
    const RecurrentShape& shape = plan_.shape;
    const bool two = shape.directions == 2;
    const Tensor3<const T> reverse = read_only(reverse_dx_of(0));
    if (shape.drops_input()) {
        drop_input<T>(team, plan_, table_, 0, read_only(call_.dx), call_.dx);
        if (two) drop_input<T>(team, plan_, table_, 1, reverse, call_.dx, true);
    } else if (two && call_.x_rows) {
        const Team::Range rows = team.split(call_.x_rows.rows);
        for (index row = rows.begin; row < rows.end; ++row) {
            table_.add_to(reverse.data + row * reverse.batch_stride,
                          call_.dx.data + row * call_.dx.batch_stride, shape.input_size);
        }
    } else if (two) {
        add_tokens<T>(team, plan_, table_, shape.input_size, reverse, call_.dx);
    }
}

template <class T>
Tensor3<T> BackwardPass<T>::reverse_dx_of(index layer) const {
    const index width = plan_.shape.layer_input(layer);
    if (layer == 0 && call_.x_rows) return {reverse_dx_.data(), 0, width};
    return {reverse_dx_.data(), plan_.shape.batch * width, width};
}

template <class T>
void recurrent_backward(const Plan& plan, const Cache<T>& cache, const BackwardCall<T>& call) {
    BackwardPass<T>(plan, cache, call).run();
}

template <class T>
index row_sums_size(const Plan& plan, const Cache<T>& cache, index rows) {
    const KernelTable<T>& table = kernel_table<T>(cache.kernels);
    const CellKernels<T>& cell = table.cell[static_cast<int>(plan.shape.cell)];
    return ceil_div(plan.shape.hidden_size, table.lanes) *
           row_sums_stride<T>(cell, table.lanes, rows);
}

template class BackwardPass<float>;
template class BackwardPass<double>;
template index row_sums_size(const Plan&, const Cache<float>&, index);
template index row_sums_size(const Plan&, const Cache<double>&, index);
template void recurrent_backward(const Plan&, const Cache<float>&, const BackwardCall<float>&);
template void recurrent_backward(const Plan&, const Cache<double>&, const BackwardCall<double>&);

}  // namespace fastrnn
