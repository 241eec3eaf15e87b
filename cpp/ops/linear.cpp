#include "ops/linear.h"

#include <algorithm>
#include <vector>

#include "base/memory.h"
#include "dispatch/isa.h"
#include "ops/costs.h"
#include "parallel/team.h"

namespace fastrnn {
namespace {

constexpr index rows_per_task = 96;

std::vector<index> multiples(index stride, index n) {
    std::vector<index> offset(static_cast<std::size_t>(n));
    for (index i = 0; i < n; ++i) offset[static_cast<std::size_t>(i)] = i * stride;
    return offset;
}

}  // namespace

template <class T>
void linear_forward(const LinearShape<T>& s, const T* bias, T* out) {
    const KernelTable<T>& table = current_table<T>();
    const index L = table.lanes, panel = table.product_panel, vectors = ceil_div(s.output, L);
    Buffer<T> packed(vectors * L * s.input), padded_bias(vectors * L);
    std::fill_n(padded_bias.data(), vectors * L, T(0));
    if (bias) std::copy_n(bias, s.output, padded_bias.data());
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
    run(threads, flops, [&](Team& team) {
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
            p.start = padded_bias.data() + begin * L;
            table.product(p);
        });
    });
}

namespace {

// dW = dout^T x: sums over all rows, cut by rows of dW and panels of its columns, never by rows of
// x.
template <class T>
class WeightGradient {
public:
    WeightGradient(const LinearShape<T>& shape, const KernelTable<T>& table, const T* dout,
                   T* dweight)
        : s_(shape),
          table_(table),
          dout_(dout),
          dweight_(dweight),
          panel_(table.outer_panel * table.lanes),
          panels_(ceil_div(s_.input, panel_)),
          blocks_(ceil_div(s_.output, most_outer_rows)),
          x_offset_(multiples(s_.input, s_.rows)),
          dout_offset_(multiples(s_.output, s_.rows)) {}

    // What every task reads: x in panels, [panels][rows][panel]. Each part packs its block of dout
    // anew, so there are few where other tasks even out the load.
    void prepare(int threads, bool others) {
        const index tasks = 4 * threads;
        parts_ = smaller(panels_, others ? larger(1, tasks / blocks_) : ceil_div(tasks, blocks_));
        x_ = Buffer<T>(s_.rows * panels_ * panel_);
        scratch_stride_ = smaller(s_.rows, terms_in_a_chain) * most_outer_rows;
        scratch_ = Buffer<T>(scratch_stride_ * threads);
    }
    void pack(const Team& team) const {
        const Team::Range rows = team.split(s_.rows);
        for (index p = 0; p < panels_; ++p) {
            const index width = round_up(columns(p), table_.lanes);
            table_.pack_rows(s_.x + p * panel_, x_offset_.data() + rows.begin,
                             rows.end - rows.begin, columns(p), width,
                             x_.data() + p * s_.rows * panel_ + rows.begin * width);
        }
    }

    index tasks() const { return blocks_ * parts_; }
    void run(const Team& team, index task) const {
        const index m = task / parts_ * most_outer_rows, part = task % parts_;
        const index first = panels_ * part / parts_, end = panels_ * (part + 1) / parts_;
        T* const a = scratch_.data() + team.rank() * scratch_stride_;
        OuterArgs<T> o;
        o.a = a, o.m = smaller(most_outer_rows, s_.output - m), o.a_stride = o.m;
        o.width = o.width_valid = o.m, o.group_row = &m;
        o.c_stride = s_.input;
        for (index k = 0; k < s_.rows; k += terms_in_a_chain, o.add = true) {
            o.terms = smaller(terms_in_a_chain, s_.rows - k);
            table_.pack_rows(dout_ + m, dout_offset_.data() + k, o.terms, o.m, o.m, a);
            for (index p = first; p < end; ++p) {
                o.columns = columns(p), o.vectors = ceil_div(o.columns, table_.lanes);
                o.b = x_.data() + p * s_.rows * panel_ + k * o.vectors * table_.lanes;
                o.c = dweight_ + p * panel_;
                table_.outer(o);
            }
        }
    }

private:
    index columns(index p) const { return smaller(panel_, s_.input - p * panel_); }

    const LinearShape<T>& s_;
    const KernelTable<T>& table_;
    const T* const dout_;
    T* const dweight_;
    const index panel_, panels_, blocks_;
    const std::vector<index> x_offset_, dout_offset_;
    Buffer<T> x_, scratch_;
    index parts_ = 1, scratch_stride_ = 0;
};

// dx = dout W, by blocks of rows.
template <class T>
class InputGradient {
public:
    InputGradient(const LinearShape<T>& shape, const KernelTable<T>& table, const T* dout, T* dx)
        : s_(shape),
          table_(table),
          dout_(dout),
          dx_(dx),
          dx_offset_(multiples(s_.input, s_.rows)),
          dout_offset_(multiples(s_.output, s_.rows)),
          weight_offset_(multiples(s_.input, s_.output)) {}

    void prepare() { weight_ = Buffer<T>(round_up(s_.input, table_.lanes) * s_.output); }
    void pack(const Team& team) const {
        const index panel = table_.product_panel * table_.lanes;
        const Team::Range range = team.split(s_.input, panel);
        for (index n = range.begin; n < range.end; n += panel) {
            const index columns = smaller(panel, range.end - n);
            table_.pack_rows(s_.weight + n, weight_offset_.data(), s_.output, columns,
                             round_up(columns, table_.lanes), weight_.data() + n * s_.output);
        }
    }

    index tasks() const { return ceil_div(s_.rows, rows_per_task); }
    void run(index task) const {
        const index row = task * rows_per_task;
        ProductArgs<T> p;
        p.rows = smaller(rows_per_task, s_.rows - row);
        p.a = dout_, p.a_offset = dout_offset_.data() + row, p.run = s_.output;
        p.b = weight_.data(), p.vectors = ceil_div(s_.input, table_.lanes);
        p.panel = table_.product_panel;
        p.c = dx_, p.c_offset = dx_offset_.data() + row, p.group_stride = table_.lanes;
        p.columns = s_.input;
        table_.product(p);
    }

private:
    const LinearShape<T>& s_;
    const KernelTable<T>& table_;
    const T* const dout_;
    T* const dx_;
    const std::vector<index> dx_offset_, dout_offset_, weight_offset_;
    Buffer<T> weight_;
};

template <class T>
void bias_gradient(const LinearShape<T>& s, const KernelTable<T>& table, const T* dout, T* dbias) {
    std::fill_n(dbias, s.output, T(0));
    for (index k = 0; k < s.rows; k += terms_in_a_chain) {
        table.column_sums(dout + k * s.output, s.output, smaller(terms_in_a_chain, s.rows - k),
                          s.output, dbias);
    }
}

}  // namespace

template <class T>
void linear_backward(const LinearShape<T>& s, const T* dout, T* dx, T* dweight, T* dbias) {
    if (s.rows == 0) {
        if (dweight) std::fill_n(dweight, s.output * s.input, T(0));
        if (dbias) std::fill_n(dbias, s.output, T(0));
        return;
    }
    const KernelTable<T>& table = current_table<T>();
    WeightGradient<T> weight(s, table, dout, dweight);
    InputGradient<T> input(s, table, dout, dx);
    const double products = (dx ? 1 : 0) + (dweight ? 1 : 0);
    const double flops =
        2.0 * products * static_cast<double>(s.rows) * static_cast<double>(s.input * s.output);
    const int threads = threads_worth(flops, s.rows);
    if (dweight) weight.prepare(threads, dx != nullptr);
    if (dx) input.prepare();
    const index bias_tasks = dbias ? 1 : 0, weight_tasks = dweight ? weight.tasks() : 0;
    const index input_tasks = dx ? input.tasks() : 0;
    std::atomic<index> next{0};
    run(threads, flops, [&](Team& team) {
        if (dweight) weight.pack(team);
        if (dx) input.pack(team);
        team.barrier();
        for_tasks(team, next, bias_tasks + weight_tasks + input_tasks, [&](index task) {
            if (task < bias_tasks) return bias_gradient(s, table, dout, dbias);
            task -= bias_tasks;
            if (task < weight_tasks) return weight.run(team, task);
            input.run(task - weight_tasks);
        });
    });
}

template void linear_forward(const LinearShape<float>&, const float*, float*);
template void linear_forward(const LinearShape<double>&, const double*, double*);
template void linear_backward(const LinearShape<float>&, const float*, float*, float*, float*);
template void linear_backward(const LinearShape<double>&, const double*, double*, double*, double*);

}  // namespace fastrnn
