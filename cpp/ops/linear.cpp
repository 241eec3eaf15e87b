#include "ops/linear.h"

#include <algorithm>
#include <vector>

#include "base/memory.h"
#include "dispatch/isa.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

constexpr index terms_in_a_chain = 1024;  // of the sums over rows, as in the recurrent layers
constexpr index rows_per_task = 96;
constexpr index weight_rows_per_task = most_outer_rows;

std::vector<index> multiples(index stride, index n) {
    std::vector<index> offset(static_cast<std::size_t>(n));
    for (index i = 0; i < n; ++i) offset[static_cast<std::size_t>(i)] = i * stride;
    return offset;
}

}  // namespace

template <class T>
void linear_forward(const LinearShape<T>& s, const T* bias, T* out) {
    const KernelTable<T>& table = kernel_table<T>(current_kernels());
    const index L = table.lanes, panel = table.product_panel, vectors = ceil_div(s.output, L);
    Buffer<T> packed(vectors * L * s.input), start(vectors * L);
    std::fill_n(start.data(), vectors * L, T(0));
    if (bias) std::copy_n(bias, s.output, start.data());
    const std::vector<index> x_offset = multiples(s.input, s.rows),
                             out_offset = multiples(s.output, s.rows);

    // Tasks are blocks of rows, and of panels too where the rows alone would not occupy everybody.
    const index row_tasks = ceil_div(s.rows, rows_per_task);
    const double flops =
        2.0 * static_cast<double>(s.rows) * static_cast<double>(s.input * s.output);
    const int threads = threads_worth(flops, row_tasks * ceil_div(vectors, panel));
    const index column_tasks =
        smaller(ceil_div(vectors, panel), larger(1, 4 * threads / larger(1, row_tasks)));
    std::atomic<index> next{0};
    run(threads, [&](Team& team) {
        const Team::Range range = team.split(vectors, panel);
        if (range.begin < range.end) {
            table.pack_columns(s.weight + range.begin * L * s.input, s.input,
                               smaller(s.output, range.end * L) - range.begin * L, s.input, panel,
                               packed.data() + range.begin * L * s.input);
        }
        team.barrier();
        for_tasks(team, next, row_tasks * column_tasks, [&](index task) {
            const index row = task / column_tasks * rows_per_task, part = task % column_tasks;
            const index panels = ceil_div(vectors, panel);
            const index begin = panels * part / column_tasks * panel;
            const index end = smaller(vectors, panels * (part + 1) / column_tasks * panel);
            ProductArgs<T> p;
            p.rows = smaller(rows_per_task, s.rows - row);
            p.a = s.x, p.a_offset = x_offset.data() + row, p.run = s.input;
            p.b = packed.data() + begin * L * s.input, p.vectors = end - begin, p.panel = panel;
            p.c = out + begin * L, p.c_offset = out_offset.data() + row, p.group_stride = L;
            p.columns = smaller(s.output, end * L) - begin * L;
            p.start = start.data() + begin * L;
            table.product(p);
        });
    });
}

template <class T>
void linear_backward(const LinearShape<T>& s, const T* dout, T* dx, T* dweight, T* dbias) {
    const KernelTable<T>& table = kernel_table<T>(current_kernels());
    const index L = table.lanes, panel = table.product_panel * L, outer = table.outer_panel * L;
    const index chain = smaller(s.rows, terms_in_a_chain);
    const std::vector<index> x_offset = multiples(s.input, larger(s.rows, s.output));
    const std::vector<index> dout_offset = multiples(s.output, s.rows);
    Buffer<T> packed(dx ? round_up(s.input, L) * s.output : 0);

    const double flops =
        4.0 * static_cast<double>(s.rows) * static_cast<double>(s.input * s.output);
    const index dx_tasks = dx ? ceil_div(s.rows, rows_per_task) : 0;
    const index m_tasks = ceil_div(s.output, weight_rows_per_task),
                n_tasks = ceil_div(s.input, outer);
    const index weight_tasks = dweight ? m_tasks * n_tasks : 0;
    const int threads = threads_worth(flops, dx_tasks + weight_tasks);
    const index scratch_stride = chain * (outer + weight_rows_per_task);
    Buffer<T> scratch(dweight ? scratch_stride * threads : 0);
    std::atomic<index> next{0};

    run(threads, [&](Team& team) {
        if (dx) {
            const Team::Range range = team.split(round_up(s.input, L), panel);
            for (index n = range.begin; n < smaller(range.end, s.input); n += panel) {
                const index columns = smaller(panel, s.input - n);
                table.pack_rows(s.weight + n, x_offset.data(), s.output, columns,
                                round_up(columns, L), packed.data() + n * s.output);
            }
        }
        team.barrier();
        const auto input_gradient = [&](index task) {
            ProductArgs<T> p;
            const index row = task * rows_per_task;
            p.rows = smaller(rows_per_task, s.rows - row);
            p.a = dout, p.a_offset = dout_offset.data() + row, p.run = s.output;
            p.b = packed.data(), p.vectors = ceil_div(s.input, L), p.panel = table.product_panel;
            p.c = dx, p.c_offset = x_offset.data() + row, p.group_stride = L;
            p.columns = s.input;
            table.product(p);
        };
        const auto weight_gradient = [&](index task) {
            const index m = task / n_tasks * weight_rows_per_task, n = task % n_tasks * outer;
            const index rows = smaller(weight_rows_per_task, s.output - m),
                        columns = smaller(outer, s.input - n);
            T* const b = scratch.data() + team.rank() * scratch_stride;
            T* const a = b + chain * outer;
            if (s.rows == 0) {
                for (index i = 0; i < rows; ++i)
                    std::fill_n(dweight + (m + i) * s.input + n, columns, T(0));
            }
            for (index k = 0; k < s.rows; k += terms_in_a_chain) {
                OuterArgs<T> o;
                o.terms = smaller(terms_in_a_chain, s.rows - k);
                const index width = round_up(columns, L);
                table.pack_rows(s.x + n, x_offset.data() + k, o.terms, columns, width, b);
                table.pack_rows(dout + m, dout_offset.data() + k, o.terms, rows, rows, a);
                o.a = a, o.a_stride = rows;
                o.b = b, o.vectors = width / L;
                o.m = o.width = o.width_valid = rows, o.group_row = &m;
                o.c = dweight + n, o.c_stride = s.input, o.columns = columns;
                o.add = k > 0;
                table.outer(o);
            }
        };
        for_tasks(team, next, weight_tasks + dx_tasks + (dbias ? 1 : 0), [&](index task) {
            if (task < weight_tasks) {
                weight_gradient(task);
            } else if (task < weight_tasks + dx_tasks) {
                input_gradient(task - weight_tasks);
            } else {
                std::fill_n(dbias, s.output, T(0));
                for (index k = 0; k < s.rows; k += terms_in_a_chain) {
                    table.column_sums(dout + k * s.output, s.output,
                                      smaller(terms_in_a_chain, s.rows - k), s.output, dbias);
                }
            }
        });
    });
}

template void linear_forward(const LinearShape<float>&, const float*, float*);
template void linear_forward(const LinearShape<double>&, const double*, double*);
template void linear_backward(const LinearShape<float>&, const float*, float*, float*, float*);
template void linear_backward(const LinearShape<double>&, const double*, double*, double*, double*);

}  // namespace fastrnn
