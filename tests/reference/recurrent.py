"""Recurrent layers, forward and backward, one sequence and one time step at a time.

A cell is a pair of functions of a step's two products, a_x = W_ih x + b_ih and a_h = W_hh h + b_hh:

    step(a_x, a_h, h, c) -> h', c', saved
    undo(saved, dh', dc') -> da_x, da_h, dh, dc    (dh: only the part that does not go through a_h)

Everything else (products, time, directions, layers, lengths, dropout masks) is the same for all
cells. Arrays are time-major: x [T, B, I], states [L * D, B, H], output and cells [T, B, D * H].
"""

from dataclasses import dataclass, field

import numpy as np


def sigmoid(a):
    return (1 + np.tanh(a / 2)) / 2


# ---- cells ---------------------------------------------------------------------------------------


def rnn_tanh_step(a_x, a_h, h, c):
    new_h = np.tanh(a_x + a_h)
    return new_h, c, new_h


def rnn_tanh_undo(new_h, dh, dc):
    da = dh * (1 - new_h**2)
    return da, da, 0, dc


def rnn_relu_step(a_x, a_h, h, c):
    new_h = np.maximum(a_x + a_h, 0)
    return new_h, c, new_h


def rnn_relu_undo(new_h, dh, dc):
    da = dh * (new_h > 0)
    return da, da, 0, dc


def lstm_step(a_x, a_h, h, c):
    a_i, a_f, a_g, a_o = np.split(a_x + a_h, 4)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    new_c = f * c + i * g
    new_h = o * np.tanh(new_c)
    return new_h, new_c, (i, f, g, o, c, new_c)


def lstm_undo(saved, dh, dc):
    i, f, g, o, c, new_c = saved
    do = dh * np.tanh(new_c)
    dc = dc + dh * o * (1 - np.tanh(new_c) ** 2)
    di, df, dg = dc * g, dc * c, dc * i
    da = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)])
    return da, da, 0, dc * f


def gru_step(a_x, a_h, h, c):
    x_r, x_z, x_n = np.split(a_x, 3)
    h_r, h_z, h_n = np.split(a_h, 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    new_h = (1 - z) * n + z * h
    return new_h, c, (r, z, n, h_n, h)


def gru_undo(saved, dh, dc):
    r, z, n, h_n, h = saved
    dn, dz = dh * (1 - z), dh * (h - n)
    da_n = dn * (1 - n**2)
    dr = da_n * h_n
    da_r, da_z = dr * r * (1 - r), dz * z * (1 - z)
    return np.concatenate([da_r, da_z, da_n]), np.concatenate([da_r, da_z, da_n * r]), dh * z, dc


STEP = {"rnn_tanh": rnn_tanh_step, "rnn_relu": rnn_relu_step, "lstm": lstm_step, "gru": gru_step}
UNDO = {"rnn_tanh": rnn_tanh_undo, "rnn_relu": rnn_relu_undo, "lstm": lstm_undo, "gru": gru_undo}
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
HAVE_C = ("lstm",)


# ---- one sequence in one direction ---------------------------------------------------------------


def run_sequence(cell, w, xs, h, c):
    """xs [n, I] in the order of processing -> hs [n, H], cs [n, H], h, c and a tape with one entry
    a step."""
    hs, cs, tape = [], [], []
    for x in xs:
        a_x = w["weight_ih"] @ x + w.get("bias_ih", 0)
        a_h = w["weight_hh"] @ h + w.get("bias_hh", 0)
        new_h, new_c, saved = STEP[cell](a_x, a_h, h, c)
        tape.append((x, h, saved))
        h, c = new_h, new_c
        hs.append(h)
        cs.append(c)
    empty = np.zeros((0, len(h)))
    return np.array(hs) if hs else empty, np.array(cs) if cs else empty, h, c, tape


def undo_sequence(cell, w, tape, dhs, dcs, dh, dc, dw):
    """Gradients of hs, cs and the final h, c -> of xs [n, I] and of the initial h, c; adds those of
    w to dw."""
    dxs = np.zeros((len(tape), w["weight_ih"].shape[1]))
    for s in reversed(range(len(tape))):
        x, h, saved = tape[s]
        da_x, da_h, dh_direct, dc = UNDO[cell](saved, dh + dhs[s], dc + dcs[s])
        dw["weight_ih"] += np.outer(da_x, x)
        dw["weight_hh"] += np.outer(da_h, h)
        dw["bias_ih"] += da_x
        dw["bias_hh"] += da_h
        dxs[s] = w["weight_ih"].T @ da_x
        dh = w["weight_hh"].T @ da_h + dh_direct
    return dxs, dh, dc


# ---- layers, directions, batch, lengths, dropout -------------------------------------------------


@dataclass
class Forward:
    output: np.ndarray  # [T, B, D * H]
    h: np.ndarray  # [L * D, B, H]
    c: np.ndarray | None  # [L * D, B, H]; None of a cell without c
    cells: np.ndarray | None  # [T, B, D * H], of the last layer
    tapes: dict = field(repr=False)  # (layer, direction, sequence) -> its tape


@dataclass
class Gradients:
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray | None
    weights: dict


def weights_of(weights, layer, direction):
    """One layer's and direction's arrays in float64, without the suffix of their names."""
    suffix = f"_l{layer}" + ("_reverse" if direction else "")
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {kind: np.float64(weights[kind + suffix]) for kind in kinds if kind + suffix in weights}


def steps_of(length, direction):
    """The valid time steps in the order in which a direction meets them."""
    return list(range(length))[:: -1 if direction else 1]


def forward(
    cell,
    x,
    weights,
    h0=None,
    c0=None,
    *,
    num_layers=1,
    bidirectional=False,
    lengths=None,
    masks=None,
    input_masks=None,
):
    """masks[k] [T, B, D * H] multiplies what layer k hands to layer k + 1 (dropout, already
    scaled), input_masks[d] [B, I] what direction d of layer 0 sees of x."""
    T, B, _ = x.shape
    D, H = 1 + bidirectional, weights["weight_hh_l0"].shape[1]
    lengths = [T] * B if lengths is None else lengths
    h = np.zeros((num_layers * D, B, H)) if h0 is None else np.array(h0, np.float64)
    c = np.zeros((num_layers * D, B, H)) if c0 is None else np.array(c0, np.float64)
    layer_input, tapes = np.float64(x), {}
    for layer in range(num_layers):
        output, cells = np.zeros((T, B, D * H)), np.zeros((T, B, D * H))
        for direction in range(D):
            w, k = weights_of(weights, layer, direction), layer * D + direction
            units = slice(direction * H, (direction + 1) * H)
            masked = layer == 0 and input_masks is not None
            seen = layer_input * input_masks[direction] if masked else layer_input
            for b in range(B):
                ts = steps_of(lengths[b], direction)
                (
                    output[ts, b, units],
                    cells[ts, b, units],
                    h[k, b],
                    c[k, b],
                    tapes[layer, direction, b],
                ) = run_sequence(cell, w, seen[ts, b], h[k, b].copy(), c[k, b].copy())
        last = layer == num_layers - 1
        layer_input = output if last or masks is None else output * masks[layer]
    return Forward(output, h, *((c, cells) if cell in HAVE_C else (None, None)), tapes)


def backward(
    cell, result, x, weights, doutput=None, dh=None, dc=None, dcells=None, *,
    num_layers=1, bidirectional=False, lengths=None, masks=None, input_masks=None,
):  # fmt: skip
    """The gradients of sum(doutput * output) + sum(dh * h) + sum(dc * c) + sum(dcells * cells)."""
    T, B, _ = x.shape
    D, H = 1 + bidirectional, weights["weight_hh_l0"].shape[1]
    lengths = [T] * B if lengths is None else lengths
    dh = np.zeros_like(result.h) if dh is None else np.array(dh, np.float64)
    dc = np.zeros_like(result.h) if dc is None else np.array(dc, np.float64)
    dout = np.zeros_like(result.output) if doutput is None else np.float64(doutput)
    dcell = np.zeros_like(result.output) if dcells is None else np.float64(dcells)
    dweights = {}
    for layer in reversed(range(num_layers)):
        dinput = 0
        for direction in range(D):
            w, k = weights_of(weights, layer, direction), layer * D + direction
            units = slice(direction * H, (direction + 1) * H)
            dw = {"bias_ih": np.zeros(GATES[cell] * H), "bias_hh": np.zeros(GATES[cell] * H)}
            dw |= {name: np.zeros_like(w[name]) for name in ("weight_ih", "weight_hh")}
            dxs = np.zeros((T, B, w["weight_ih"].shape[1]))
            for b in range(B):
                ts = steps_of(lengths[b], direction)
                dxs[ts, b], dh[k, b], dc[k, b] = undo_sequence(
                    cell,
                    w,
                    result.tapes[layer, direction, b],
                    dout[ts, b, units],
                    dcell[ts, b, units],
                    dh[k, b].copy(),
                    dc[k, b].copy(),
                    dw,
                )
            masked = layer == 0 and input_masks is not None
            dinput = dinput + (dxs * input_masks[direction] if masked else dxs)
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            dweights |= {name + suffix: dw[name] for name in w}
        dcell = np.zeros_like(dcell)
        dout = dinput if masks is None or layer == 0 else dinput * masks[layer - 1]
    return Gradients(dout, dh, dc if cell in HAVE_C else None, dweights)
