// The forward pass of a stack: layer after layer, direction after direction, all in one parallel
// region.
#include <algorithm>

#include "ops/dropout.h"
#include "ops/sharing.h"
#include "ops/weights.h"

namespace fastrnn {
namespace {

// Bytes of the gates that a member computes ahead of the time loop, so that they are still in its
// cache when used, and the rows below which the input's product would not fill its tiles.
constexpr index ahead_bytes = 256 << 10, ahead_rows = 48;

// One layer in one direction.
template <class T>
class DirectionForward {
public:
    DirectionForward(const Plan& plan, const Kernels& kernels, const Sharing& sharing, index input,
                     Tensor3<const T> x, bool reverse, const T* h0, const T* c0, Tensor3<T> output,
                     T* hn, T* cn, Tensor3<T> cells)
        : plan_(plan),
          schedule_(plan.schedule),
          sharing_(sharing),
          table_(kernel_table<T>(kernels)),
          cell_(table_.cell[static_cast<int>(plan.shape.cell)]),
          L_(table_.lanes),
          hidden_(plan.shape.hidden_size),
          input_(input),
          units_(ceil_div(hidden_, L_)),
          x_(x, schedule_, reverse),
          h_(output, schedule_, reverse),
          cells_(cells, schedule_, reverse),
          output_(output),
          all_cells_(cells),
          h0_(h0),
          c0_(c0),
          hn_(hn),
          cn_(cn) {
        h0_offset_.assign(static_cast<std::size_t>(schedule_.batch), 0);
        for (std::size_t i = 0; h0_ && i < h0_offset_.size(); ++i)
            h0_offset_[i] = schedule_.order[i] * hidden_;
        if (!h0_) {
            no_h0_ = Buffer<T>(hidden_);
            std::fill_n(no_h0_.data(), hidden_, T(0));
        }
        const index rows =
            ceil_div(larger(1, schedule_.batch), sharing.by_units ? 1 : sharing.threads);
        const index token_bytes = units_ * cell_.slots * L_ * static_cast<index>(sizeof(T));
        const index tokens = larger(ahead_rows, ahead_bytes / larger(1, token_bytes));
        ahead_steps_ =
            larger(1, smaller(smaller(tokens / rows, schedule_.chunk_steps), schedule_.steps));
        if (cell_.has_c) c_start_ = Buffer<T>(units_ * schedule_.batch * L_);
    }

    // Inference: one set of gates, overwritten as time goes on, and one c.
    void use_scratch() {
        scratch_stride_ =
            ChunkLayout::padded(ahead_steps_ * schedule_.batch * cell_.slots * L_, sizeof(T));
        scratch_ = Buffer<T>(units_ * scratch_stride_);
    }

    // Training: every step's gates and c, where the backward pass will find them.
    void use_cache(const Cache<T>& cache, std::size_t which) {
        gates_layout_ = &cache.gates_layout;
        c_layout_ = &cache.c_layout;
        gates_ = cache.gates[which].data();
        c_ = cell_.has_c ? cache.c[which].data() : nullptr;
    }

    void use_packed(const PackedLayer<T>& packed) { packed_ = &packed; }

    void pack(Team& team, const LayerWeights<const T>& weights, const PackedLayer<T>& packed) {
        const Team::Range range = team.split(units_, unit_grain());
        pack_layer(table_, cell_, weights, hidden_, input_, range.begin, range.end, packed);
        // By units, the members read only what they packed themselves.
        if (!sharing_.by_units) team.barrier();
        packed_ = &packed;
    }

    void run(Team& team) {
        const Share share(team, sharing_, schedule_.batch, units_, unit_grain());
        start_c(share);
        std::vector<index> a_offset, c_offset;
        for (index s = 0; s < schedule_.steps;) {
            const index chunk_end = schedule_.chunk_end(s / schedule_.chunk_steps);
            const index end = smaller(s + ahead_steps_, training() ? chunk_end : schedule_.steps);
            if (!team.cancelled()) input_product(share, s, end, a_offset, c_offset);
            for (const index begin = s; s < end; ++s) {
                if (!team.cancelled()) step(share, s, begin);
                if (share.by_units) team.barrier();
            }
            team.poll();
        }
        finish(share);
    }

private:
    bool training() const { return gates_ != nullptr; }
    index unit_grain() const { return cell_.panel / cell_.gates; }

    // c_0, in the order of the sorted sequences.
    void start_c(const Share& share) {
        if (!cell_.has_c) return;
        for (index u = share.unit_begin; u < share.unit_end; ++u) {
            for (const index i : share.row) {
                T* c = c_start_.data() + (u * schedule_.batch + i) * L_;
                for (index lane = 0; lane < L_; ++lane) {
                    const index unit = u * L_ + lane;
                    c[lane] =
                        c0_ && unit < hidden_ ? c0_[schedule_.order[i] * hidden_ + unit] : T(0);
                }
            }
        }
    }

    // The gates of step s: where they begin, and their stride. `begin` is the first step computed
    // ahead with it.
    T* gates_at(index s, index begin, index& unit_stride) const {
        const index width = cell_.slots * L_;
        if (!training()) {
            unit_stride = scratch_stride_;
            return scratch_.data() + (s - begin) * schedule_.batch * width;
        }
        const index c = s / schedule_.chunk_steps;
        unit_stride = gates_layout_->unit_stride[c];
        const index token =
            schedule_.first_token[s] - schedule_.first_token[schedule_.chunk_begin(c)];
        return gates_ + gates_layout_->base[c] + token * width;
    }

    T* c_at(index s, index& unit_stride) const {
        if (!training() || s < 0) {
            unit_stride = schedule_.batch * L_;
            return c_start_.data();
        }
        const index c = s / schedule_.chunk_steps;
        unit_stride = c_layout_->unit_stride[c];
        return c_ + c_layout_->base[c] +
               (schedule_.first_token[s] - schedule_.first_token[schedule_.chunk_begin(c)]) * L_;
    }

    // bias + W_ih x for the steps begin .. end - 1 of this member's sequences and units, into the
    // gates.
    void input_product(const Share& share, index begin, index end, std::vector<index>& a_offset,
                       std::vector<index>& c_offset) {
        index unit_stride;
        T* const gates = gates_at(begin, begin, unit_stride);
        a_offset.clear();
        c_offset.clear();
        for (index s = begin; s < end; ++s) {
            index same_stride;
            const index base = gates_at(s, begin, same_stride) - gates;
            const index rows = share.rows(schedule_.active[s]);
            for (index j = 0; j < rows; ++j) {
                const index i = share.row[j];
                a_offset.push_back(s * x_.step + x_.offset[i]);
                c_offset.push_back(base + (i * cell_.slots + cell_.x_slot) * L_);
            }
        }
        ProductArgs<T> p;
        p.rows = static_cast<index>(a_offset.size());
        p.a = x_.base, p.a_offset = a_offset.data(), p.run = input_;
        p.b = packed_->w_ih.data() + share.unit_begin * cell_.gates * L_ * input_;
        p.vectors = (share.unit_end - share.unit_begin) * cell_.gates, p.panel = cell_.panel;
        p.c = gates + share.unit_begin * unit_stride, p.c_offset = c_offset.data();
        p.group = cell_.gates, p.group_stride = unit_stride;
        p.columns = p.vectors * L_;
        p.start = packed_->start.data() + share.unit_begin * cell_.gates * L_;
        table_.product(p);
    }

    void step(const Share& share, index s, index begin) {
        ForwardStep<T> a;
        a.rows = share.rows(schedule_.active[s]);
        a.row = share.row.data();
        a.unit_begin = share.unit_begin, a.unit_end = share.unit_end;
        a.hidden = hidden_;
        a.weight = packed_->w_hh.data() + share.unit_begin * cell_.gates * L_ * hidden_;
        a.start = packed_->start_recurrent.data();
        a.h_prev = s > 0 ? h_.at(s - 1) : h0_ ? h0_ : no_h0_.data();
        a.h_prev_offset = s > 0 ? h_.offset.data() : h0_offset_.data();
        a.h = h_.at(s), a.h_offset = h_.offset.data();
        a.gates = gates_at(s, begin, a.gates_stride);
        a.keep = training();
        if (cell_.has_c) {
            a.c_prev = c_at(s - 1, a.c_prev_stride);
            a.c = c_at(s, a.c_stride);
            a.cells = cells_.at(s), a.cells_offset = cells_.offset.data();
        }
        cell_.forward(a);
    }

    // The final states, and zeros past the sequences' ends.
    void finish(const Share& share) {
        const index column = share.unit_begin * L_, end = smaller(hidden_, share.unit_end * L_);
        if (column >= end) return;
        for (const index i : share.row) {
            const index row = schedule_.order[i], length = schedule_.length[i];
            const T* last = length > 0 ? h_.at(length - 1) + h_.offset[i]
                            : h0_      ? h0_ + h0_offset_[i]
                                       : no_h0_.data();
            std::copy(last + column, last + end, hn_ + row * hidden_ + column);
            if (cn_) {
                index unit_stride;
                const T* c = c_at(length - 1, unit_stride) + i * L_;
                for (index unit = column; unit < end; ++unit) {
                    cn_[row * hidden_ + unit] = c[unit / L_ * unit_stride + unit % L_];
                }
            }
            for (const Tensor3<T>& t : {output_, all_cells_}) {
                for (index s = length; t.data && s < plan_.shape.steps; ++s) {
                    T* past = t.data + s * t.time_stride + row * t.batch_stride;
                    std::fill(past + column, past + end, T(0));
                }
            }
        }
    }

    const Plan& plan_;
    const Schedule& schedule_;
    const Sharing sharing_;
    const KernelTable<T>& table_;
    const CellKernels<T>& cell_;
    const index L_, hidden_, input_, units_;
    const TimeView<const T> x_;
    const TimeView<T> h_, cells_;
    const Tensor3<T> output_, all_cells_;
    const T* const h0_;
    const T* const c0_;
    T* const hn_;
    T* const cn_;
    std::vector<index> h0_offset_;
    Buffer<T> no_h0_, c_start_, scratch_;
    index ahead_steps_, scratch_stride_ = 0;
    const PackedLayer<T>* packed_ = nullptr;
    const ChunkLayout* gates_layout_ = nullptr;
    const ChunkLayout* c_layout_ = nullptr;
    T* gates_ = nullptr;
    T* c_ = nullptr;
};

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
            directions.emplace_back(plan, kernels, sharing, shape.layer_input(layer), x, d == 1,
                                    call.h0 ? call.h0 + which * state : nullptr,
                                    call.c0 ? call.c0 + which * state : nullptr, output,
                                    call.hn + which * state,
                                    call.cn ? call.cn + which * state : nullptr, cells);
            if (cache) {
                directions.back().use_cache(*cache, static_cast<std::size_t>(which));
            } else {
                directions.back().use_scratch();
            }
            if (call.packed) {
                directions.back().use_packed(call.packed->layers[static_cast<std::size_t>(which)]);
            } else {
                packed.push_back(make_packed_layer(table, cell, H, shape.layer_input(layer)));
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
                if (!call.packed) direction.pack(team, call.weights[which], packed[which]);
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
