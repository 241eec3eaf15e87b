// The backward pass of a stack: the forward pass's layers and directions in reverse, all in one
// parallel region.
#include <memory>

#include "ops/direction_backward.h"
#include "ops/dropout.h"

namespace fastrnn {
namespace {

template <class T>
void zero_past_the_end(const Plan& plan, const Tensor3<T>& t, index width) {
    if (!t.data || t.packed) return;
    for (std::size_t i = 0; i < plan.schedule.order.size(); ++i) {
        for (index s = plan.schedule.length[i]; s < plan.shape.steps; ++s) {
            std::fill_n(t.data + s * t.time_stride + plan.schedule.order[i] * t.batch_stride, width,
                        T(0));
        }
    }
}

}  // namespace

template <class T>
void recurrent_backward(const Plan& plan, const Cache<T>& cache, const BackwardCall<T>& call) {
    const RecurrentShape& shape = plan.shape;
    const KernelTable<T>& table = kernel_table<T>(cache.kernels);
    const index D = shape.directions, H = shape.hidden_size, width = D * H, state = shape.batch * H;
    const bool dropping = shape.drops(), dropping_input = shape.drops_input();

    const CellKernels<T>& cell = table.cell[static_cast<int>(shape.cell)];
    const Sharing sharing = share_stack<T>(plan, table, 2, 1);
    index unit_panel = table.product_panel;
    if (sharing.by_units)
        unit_panel = larger(1, smaller(unit_panel, ceil_div(H, table.lanes) / sharing.threads));

    const BackwardWorkspace<T> work(
        plan, table, cell, sharing.threads,
        larger(shape.input_size, shape.layers > 1 ? shape.layer_input(1) : 0));
    // The gradients between layers, two in turn.
    Buffer<T> between[2];
    for (index i = 0; i < smaller(2, shape.layers - 1); ++i)
        between[i] = Buffer<T>(shape.steps * shape.batch * width);
    // The inner layers' outputs after dropout, one after another, where they were not kept.
    Buffer<T> dropped;
    const bool drops_again = dropping && cache.layer_dropped.empty();
    if (drops_again) dropped = Buffer<T>(shape.steps * shape.batch * width);
    // The first layer's inputs after dropout, where they were not kept, and the gradient of the
    // reverse direction's.
    std::vector<Buffer<T>> inputs;
    const bool drops_input_again = dropping_input && cache.input_dropped.empty();
    for (index d = 0; d < D && drops_input_again; ++d) inputs.emplace_back(shape.inputs());
    const auto input_of = [&](index d) {
        const auto& buffers = drops_input_again ? inputs : cache.input_dropped;
        return whole_input(shape, buffers[static_cast<std::size_t>(d)]);
    };
    Buffer<T> reverse_dx;
    if (dropping_input && D == 2 && call.dx.data) reverse_dx = Buffer<T>(shape.inputs());
    const auto whole = [&](const Buffer<T>& buffer) {
        return Tensor3<T>{buffer.data(), shape.batch * width, width};
    };
    const auto gradient_of_output = [&](index layer) { return whole(between[layer % 2]); };
    const auto output_of = [&](index layer) {
        return whole(cache.layer_output[static_cast<std::size_t>(layer)]);
    };
    const auto handed_on = [&](index layer) {
        if (!dropping) return output_of(layer);
        return whole(drops_again ? dropped : cache.layer_dropped[static_cast<std::size_t>(layer)]);
    };

    std::vector<BackwardDirectionCall<T>> calls;
    for (index which = 0; which < shape.layers * D; ++which) {
        const index layer = which / D, direction = which % D, column = direction * H;
        const bool last = layer == shape.layers - 1;
        const auto part = [&](auto tensor) {
            if (tensor.data) tensor.data += column;
            return tensor;
        };
        BackwardDirectionCall<T> c;
        c.x = layer == 0 ? call.x : read_only(handed_on(layer - 1));
        c.output = part(last ? call.output : read_only(output_of(layer)));
        c.doutput = part(last ? call.doutput : read_only(gradient_of_output(layer)));
        c.dcells = part(last ? call.dcells : Tensor3<const T>{});
        c.dx = layer == 0 ? call.dx : gradient_of_output(layer - 1);
        const auto states = [&](auto* all) { return all ? all + which * state : nullptr; };
        c.h0 = states(call.h0), c.c0 = states(call.c0), c.dhn = states(call.dhn),
        c.dcn = states(call.dcn);
        c.dh0 = states(call.dh0), c.dc0 = states(call.dc0);
        c.weights = call.weights[static_cast<std::size_t>(which)];
        c.dweights = call.dweights[static_cast<std::size_t>(which)];
        c.accumulate = call.accumulate;
        c.input = shape.layer_input(layer);
        c.reverse = direction == 1;
        c.add_dx = c.reverse;  // on top of the forward direction's
        if (layer == 0 && dropping_input) {
            c.x = read_only(input_of(direction));
            if (reverse_dx.data() && c.reverse) c.dx = whole_input(shape, reverse_dx);
            c.add_dx = false;
        }
        calls.push_back(c);
    }
    std::vector<std::unique_ptr<DirectionBackward<T>>> directions;
    for (std::size_t which = 0; which < calls.size(); ++which) {
        directions.push_back(std::make_unique<DirectionBackward<T>>(
            plan, cache, which, sharing, unit_panel, work, calls[which]));
    }

    zero_past_the_end(plan, call.dx, shape.input_size);
    run(sharing.threads, sharing.work, [&](Team& team) {
        for (index layer = shape.layers - 1; layer >= 0; --layer) {
            if (layer > 0 && drops_again) {
                drop_tokens<T>(team, plan, table, layer - 1, output_of(layer - 1), whole(dropped));
                team.barrier();
            }
            if (layer == 0 && drops_input_again) {
                for (index d = 0; d < D; ++d)
                    drop_input<T>(team, plan, table, d, call.x, input_of(d));
                team.barrier();
            }
            for (index d = 0; d < D; ++d)
                directions[static_cast<std::size_t>(layer * D + d)]->run(team);
            if (layer > 0 && dropping) {
                const Tensor3<T> gradient = gradient_of_output(layer - 1);
                drop_tokens<T>(team, plan, table, layer - 1, gradient, gradient);
                team.barrier();
            }
        }
        if (!dropping_input || !call.dx.data) return;
        drop_input<T>(team, plan, table, 0, read_only(call.dx), call.dx);
        if (D == 1) return;
        drop_input<T>(team, plan, table, 1, read_only(whole_input(shape, reverse_dx)), call.dx,
                      true);
    });
}

template void recurrent_backward(const Plan&, const Cache<float>&, const BackwardCall<float>&);
template void recurrent_backward(const Plan&, const Cache<double>&, const BackwardCall<double>&);

}  // namespace fastrnn
