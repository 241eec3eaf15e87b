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
void recurrent_backward(const Plan& plan, const Cache<T>& cache, const BackwardCall<T>& call) {
    const RecurrentShape& shape = plan.shape;
    const KernelTable<T>& table = kernel_table<T>(cache.kernels);
    const index D = shape.directions, H = shape.hidden_size, width = D * H, state = shape.batch * H;
    const bool dropping = shape.drops(), dropping_input = shape.drops_input();

    const CellKernels<T>& cell = table.cell[static_cast<int>(shape.cell)];
    const Sharing sharing = share_stack<T>(plan, table, true, 1);
    index unit_panel = table.product_panel;
    if (sharing.by_units())
        unit_panel = larger(1, smaller(unit_panel, ceil_div(H, table.lanes) / sharing.members));

    const index widest_input =
        larger(shape.input_size, shape.layers > 1 ? shape.layer_input(1) : 0);
    std::vector<BackwardWorkspace<T>> work;  // of each half of the team, or of the whole
    for (int i = 0; i < (sharing.apart ? 2 : 1); ++i)
        work.emplace_back(plan, table, cell, sharing.team(), widest_input, call.x_rows.rows,
                          call.row_sums);
    // The gradients between layers, two in turn.
    Buffer<T> between[2];
    for (index i = 0; i < smaller(2, shape.layers - 1); ++i)
        between[i] = Buffer<T>(shape.steps * shape.batch * width);
    // The inner layers' outputs after dropout, one after another, where they were not kept.
    Buffer<T> dropped;
    const bool drops_again = dropping && cache.layer_dropped.empty();
    if (drops_again) dropped = Buffer<T>(shape.steps * shape.batch * width);
    // The first layer's inputs after dropout, where they were not kept.
    std::vector<Buffer<T>> inputs;
    const bool drops_input_again = dropping_input && cache.input_dropped.empty();
    for (index d = 0; d < D && drops_input_again; ++d) inputs.emplace_back(shape.inputs());
    const auto input_of = [&](index d) {
        const auto& buffers = drops_input_again ? inputs : cache.input_dropped;
        return whole_input(shape, buffers[static_cast<std::size_t>(d)]);
    };
    // The reverse direction's part of the gradient of a layer's input, added to the forward one's:
    // so neither waits for the other.
    Buffer<T> reverse_dx;
    if (D == 2 && (call.dx.data || shape.layers > 1)) {
        const index width = call.dx.data ? widest_input : shape.layer_input(1);
        reverse_dx = Buffer<T>(larger(shape.steps * shape.batch, call.x_rows.rows) * width);
    }
    const auto reverse_dx_of = [&](index layer) {
        const index width = shape.layer_input(layer);
        if (layer == 0 && call.x_rows) return Tensor3<T>{reverse_dx.data(), 0, width};
        return Tensor3<T>{reverse_dx.data(), shape.batch * width, width};
    };
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
        if (layer == 0) c.x_rows = call.x_rows;
        c.output = part(last ? call.output : read_only(output_of(layer)));
        c.doutput = part(last ? call.doutput : read_only(gradient_of_output(layer)));
        c.dcells = part(last ? call.dcells : Tensor3<const T>{});
        c.dx = layer == 0 ? call.dx : gradient_of_output(layer - 1);
        if (direction == 1 && c.dx.data) c.dx = reverse_dx_of(layer);
        const auto states = [&](auto* all) { return all ? all + which * state : nullptr; };
        c.h0 = states(call.h0), c.c0 = states(call.c0), c.dhn = states(call.dhn),
        c.dcn = states(call.dcn);
        c.dh0 = states(call.dh0), c.dc0 = states(call.dc0);
        c.weights = call.weights[static_cast<std::size_t>(which)];
        c.dweights = call.dweights[static_cast<std::size_t>(which)];
        c.accumulate = call.accumulate;
        c.input = shape.layer_input(layer);
        c.reverse = direction == 1;
        if (layer == 0 && dropping_input) c.x = read_only(input_of(direction));
        calls.push_back(c);
    }
    std::vector<std::unique_ptr<DirectionBackward<T>>> directions;
    for (std::size_t which = 0; which < calls.size(); ++which) {
        directions.push_back(std::make_unique<DirectionBackward<T>>(
            plan, cache, which, sharing, unit_panel, work[which % work.size()], calls[which]));
    }

    if (!call.x_rows) zero_past_the_end(plan, call.dx, shape.input_size);
    const auto run_directions = [&](Team& team, index layer) {
        if (sharing.apart && team.size() % 2 == 0) {
            Team half = team.part(2);
            const index d = team.rank() / half.size();
            directions[static_cast<std::size_t>(layer * D + d)]->run(half);
            team.barrier();
        } else {
            for (index d = 0; d < D; ++d)
                directions[static_cast<std::size_t>(layer * D + d)]->run(team);
        }
    };
    run(sharing.team(), sharing.work, [&](Team& team) {
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
            run_directions(team, layer);
            if (layer == 0) break;
            // A member has the same sequences in what follows.
            const Tensor3<T> gradient = gradient_of_output(layer - 1);
            if (D == 2)
                add_tokens<T>(team, plan, table, width, read_only(reverse_dx_of(layer)), gradient);
            if (dropping) drop_tokens<T>(team, plan, table, layer - 1, gradient, gradient);
            if (D == 2 || dropping) team.barrier();
        }
        if (!call.dx.data) return;
        const Tensor3<const T> reverse = read_only(reverse_dx_of(0));
        if (dropping_input) {
            drop_input<T>(team, plan, table, 0, read_only(call.dx), call.dx);
            if (D == 2) drop_input<T>(team, plan, table, 1, reverse, call.dx, true);
        } else if (D == 2 && call.x_rows) {
            const Team::Range rows = team.split(call.x_rows.rows);
            for (index row = rows.begin; row < rows.end; ++row) {
                table.add_to(reverse.data + row * reverse.batch_stride,
                             call.dx.data + row * call.dx.batch_stride, shape.input_size);
            }
        } else if (D == 2) {
            add_tokens<T>(team, plan, table, shape.input_size, reverse, call.dx);
        }
    });
}

template <class T>
index row_sums_size(const Plan& plan, const Cache<T>& cache, index rows) {
    const KernelTable<T>& table = kernel_table<T>(cache.kernels);
    const CellKernels<T>& cell = table.cell[static_cast<int>(plan.shape.cell)];
    return ceil_div(plan.shape.hidden_size, table.lanes) *
           row_sums_stride<T>(cell, table.lanes, rows);
}

template index row_sums_size(const Plan&, const Cache<float>&, index);
template index row_sums_size(const Plan&, const Cache<double>&, index);
template void recurrent_backward(const Plan&, const Cache<float>&, const BackwardCall<float>&);
template void recurrent_backward(const Plan&, const Cache<double>&, const BackwardCall<double>&);

}  // namespace fastrnn
