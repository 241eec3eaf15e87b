"""Wrong arguments: a ValueError or TypeError that begins with the argument's name."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import CELLS, Case, backward, forward, problem_of, run_backward, run_forward
from fastrnn import functional as F
from fastrnn import layers, losses, metrics, optimizers

CASE = {
    cell: Case(cell, T=5, B=4, I=3, H=7, layers=2, bidirectional=True, lengths="ragged")
    for cell in CELLS
}
WRONG = (TypeError, ValueError)
cells = pytest.mark.parametrize("cell", CELLS)


def refused(name, run, *args, **kwargs):
    """The call raises an error whose message begins with the argument's name; returns the
    message."""
    with pytest.raises(WRONG) as caught:
        run(*args, **kwargs)
    message = str(caught.value)
    assert type(caught.value) in (TypeError, ValueError)
    assert re.match(rf"({name})(: | )", message), message
    return message


def in_weights(name):
    """How a message about one of the weights begins."""
    return rf'weights: "{name}"|weights\["{name}"\]'


def refused_backward(name, cell, **changes):
    p = problem_of(CASE[cell])
    incoming = dict(doutput=p.doutput, dh=p.dh, dc=p.dc, dcells=p.dcells) | changes
    name = {"dh": "dhn", "dc": "dcn"}.get(name, name)  # by the state's names, hn and cn
    return refused(name, backward, cell, run_forward(CASE[cell]).cache, **incoming)


# ---- shapes --------------------------------------------------------------------------------------

SHAPES = st.lists(st.integers(0, 6), max_size=5).map(tuple)


def like(shape, dtype="float64"):
    return np.ones(shape, dtype)


@given(cell=st.sampled_from(CELLS), shape=SHAPES)
def test_x_of_a_wrong_shape_is_refused(cell, shape):
    # T and B are free; with a state and lengths given, another B contradicts one of them
    right = len(shape) == 3 and shape[0] > 0 and shape[1:] == (4, 3)
    if not right:
        refused("x|h0|lengths", run_forward, CASE[cell], x=like(shape))


@given(cell=st.sampled_from(CELLS), shape=SHAPES, name=st.sampled_from(["h0", "c0"]))
def test_a_state_of_a_wrong_shape_is_refused(cell, shape, name):
    if shape != (4, 4, 7) and (name == "h0" or cell == "lstm"):
        message = refused(name, run_forward, CASE[cell], **{name: like(shape)})
        assert str(shape) in message
        assert "(4, 4, 7)" in message


@given(cell=st.sampled_from(CELLS), shape=SHAPES, data=st.data())
def test_a_weight_of_a_wrong_shape_is_refused(cell, shape, data):
    weights = problem_of(CASE[cell]).weights
    name = data.draw(st.sampled_from(sorted(weights)))
    if shape != weights[name].shape:
        # two weights tell I and H; where one of them is wrong, x or another weight contradicts it
        names = {"weight_ih_l0": "x|weights.*", "weight_hh_l0": "weights.*"}
        wrong = weights | {name: like(shape)}
        refused(names.get(name, in_weights(name)), run_forward, CASE[cell], weights=wrong)


@given(shape=SHAPES)
def test_lengths_of_a_wrong_shape_are_refused(shape):
    if shape != (4,):
        refused("lengths", run_forward, CASE["gru"], lengths=np.ones(shape, np.int64))


@given(
    cell=st.sampled_from(CELLS),
    shape=SHAPES,
    name=st.sampled_from(["doutput", "dh", "dc", "dcells"]),
)
def test_an_incoming_gradient_of_a_wrong_shape_is_refused(cell, shape, name):
    right = {"doutput": (5, 4, 14), "dcells": (5, 4, 14)}.get(name, (4, 4, 7))
    if shape != right and (name in ("doutput", "dh") or cell == "lstm"):
        refused_backward(name, cell, **{name: like(shape)})


@cells
def test_a_batch_or_state_of_one_is_not_stretched(cell):
    p = problem_of(CASE[cell])
    refused("h0", run_forward, CASE[cell], h0=p.h0[:, :1].copy())
    refused("h0", run_forward, CASE[cell], h0=p.h0[..., :1].copy())
    refused_backward("doutput", cell, doutput=p.doutput[:, :1].copy())


@cells
def test_the_message_tells_what_came_and_what_was_expected(cell):
    p = problem_of(CASE[cell])
    message = refused("h0", run_forward, CASE[cell], h0=p.h0[:2])
    assert message == "h0: expected shape (4, 4, 7), got (2, 4, 7)"


@cells
def test_zero_time_steps_are_refused(cell):
    for batch_first, shape in [(False, (0, 4, 3)), (True, (4, 0, 3))]:
        refused(
            "x",
            forward,
            cell,
            like(shape),
            problem_of(CASE[cell]).weights,
            batch_first=batch_first,
            **CASE[cell].options,
        )
    refused("x", forward, cell, like((0, 3)), problem_of(CASE[cell]).weights, **CASE[cell].options)


# ---- types ---------------------------------------------------------------------------------------

FOREIGN = {
    "integers": lambda a: a.astype(np.int64),
    "booleans": lambda a: a.astype(bool),
    "half precision": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "complex": lambda a: a.astype(complex),
    "objects": lambda a: a.astype(object),
    "strings": lambda a: a.astype(str),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "other precision": lambda a: a.astype(np.float32),
    "a list": lambda a: a.tolist(),
    "a number": lambda a: 1.0,
    "a string": lambda a: "abc",
    "a memoryview": lambda a: memoryview(a),
}


@pytest.mark.parametrize("form", FOREIGN)
@pytest.mark.parametrize("name", ["x", "h0", "c0", "weight", "bias"])
def test_arrays_of_other_types_are_refused(name, form):
    p = problem_of(CASE["lstm"])
    if name in ("weight", "bias"):
        name = f"{name}_hh_l1_reverse"
        refused(
            in_weights(name),
            run_forward,
            CASE["lstm"],
            weights=p.weights | {name: FOREIGN[form](p.weights[name])},
        )
    elif name == "x" and form == "other precision":
        refused("x", run_forward, CASE["lstm"], x=FOREIGN[form](p.x))
    else:
        refused(name, run_forward, CASE["lstm"], **{name: FOREIGN[form](getattr(p, name))})


@pytest.mark.parametrize("form", FOREIGN)
@pytest.mark.parametrize("name", ["doutput", "dh", "dc", "dcells"])
def test_incoming_gradients_of_other_types_are_refused(name, form):
    refused_backward(name, "lstm", **{name: FOREIGN[form](getattr(problem_of(CASE["lstm"]), name))})


@cells
def test_x_is_required(cell):
    refused("x", forward, cell, None, problem_of(CASE[cell]).weights, **CASE[cell].options)


# ---- lengths -------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(-(2**40), 2**40), min_size=4, max_size=4),
    st.sampled_from([list, np.array]),
)
def test_lengths_beyond_the_sequence_are_refused(lengths, convert):
    if not all(0 <= n <= 5 for n in lengths):
        refused("lengths", run_forward, CASE["gru"], lengths=convert(lengths))


@pytest.mark.parametrize(
    "lengths",
    [
        [1.0, 2.0, 3.0, 4.0],
        [True] * 4,
        ["1"] * 4,
        [None] * 4,
        "1234",
        3,
        [[1, 2, 3, 4]],
        np.ones(4),
        [2**70] * 4,
        {1, 2, 3, 4},
    ],
    ids=str,
)
def test_lengths_that_are_no_integers_are_refused(lengths):
    refused("lengths", run_forward, CASE["gru"], lengths=lengths)


# ---- weights -------------------------------------------------------------------------------------


@cells
def test_a_missing_weight_is_refused_and_named(cell):
    """A bias_hh alone may be missing, a bias_ih beside a bias_hh may not."""
    weights = problem_of(CASE[cell]).weights
    for name in weights:
        rest = {n: a for n, a in weights.items() if n != name}
        if not name.startswith("bias_hh"):
            message = refused("weights.*", run_forward, CASE[cell], weights=rest)
            assert f'"{name}"' in message


@pytest.mark.parametrize("surplus", ["weight_ih_l2", "weight_hr_l0", "bias_hh_l0_revers", "", "x"])
def test_a_surplus_weight_is_refused_and_named(surplus):
    weights = problem_of(CASE["gru"]).weights
    more = weights | {surplus: weights["bias_ih_l0"]}
    assert surplus in refused("weights", run_forward, CASE["gru"], weights=more)


@pytest.mark.parametrize("weights", [None, [], {}, "weights", np.ones(3), {1: 2}], ids=str)
def test_weights_that_are_no_complete_dict_are_refused(weights):
    refused("weights", run_forward, CASE["gru"], weights=weights)


@cells
def test_a_weight_that_is_none_is_not_a_weight(cell):
    for name in ("weight_hh_l0", "bias_hh_l1"):
        weights = problem_of(CASE[cell]).weights | {name: None}
        refused(in_weights(name), run_forward, CASE[cell], weights=weights)


# ---- states --------------------------------------------------------------------------------------


def forward_with(cell, state):
    p, options = problem_of(CASE[cell]), CASE[cell].options
    call = {"lstm": F.lstm_forward, "gru": F.gru_forward}.get(cell, F.rnn_forward)
    return call(p.x, p.weights, state, **options)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda h: h,
        lambda h: (h,),
        lambda h: (h, h, h),
        lambda h: {"h": h, "c": h},
        lambda h: 3,
        lambda h: (),
    ],
)
def test_the_state_of_an_lstm_is_a_pair(wrap):
    refused("state", forward_with, "lstm", wrap(problem_of(CASE["lstm"]).h0))


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru"])
def test_the_state_of_a_cell_without_c_is_an_array(cell):
    h = problem_of(CASE[cell]).h0
    for state in [(h, h), (h,), [h], {"h": h}]:
        refused("state|h0", forward_with, cell, state)


def test_the_gradient_of_an_lstms_state_is_a_pair():
    p, cache = problem_of(CASE["lstm"]), run_forward(CASE["lstm"]).cache
    for dstate in [p.dh, (p.dh,), (p.dh, p.dc, p.dc), "dh"]:
        refused("dstate", F.lstm_backward, cache, p.doutput, dstate)


# ---- options -------------------------------------------------------------------------------------

WRONG_OPTIONS = [
    ("num_layers", 0), ("num_layers", -1), ("num_layers", 1.0), ("num_layers", "2"),
    ("num_layers", None),
    ("num_layers", True), ("num_layers", 2**40),
    ("bidirectional", 1), ("bidirectional", "yes"), ("bidirectional", None),
    ("batch_first", 0), ("batch_first", "no"), ("batch_first", None),
    ("training", 1), ("training", "yes"),
    ("dropout", -0.1), ("dropout", 1.1), ("dropout", np.nan), ("dropout", np.inf),
    ("dropout", "0.5"), ("dropout", None), ("input_dropout", -0.1), ("input_dropout", "0.5"),
    ("seed", np.nan), ("seed", 1.0), ("seed", -1), ("seed", 2**64), ("seed", "7"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG_OPTIONS)
def test_a_wrong_option_is_refused(name, value):
    # num_layers=2**40 may as well be answered by the names of the weights that it lacks
    names = f"{name}|weights|weight_ih_l2" if value == 2**40 else name
    changes = {"dropout": 0.5, name: value} if name == "seed" else {name: value}
    refused(names, run_forward, CASE["gru"], **changes)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_return_cells_is_a_bool(value):
    refused("return_cells", run_forward, CASE["lstm"], return_cells=value)


@pytest.mark.parametrize("value", ["sigmoid", "", None, 3, "TANH"])
def test_an_unknown_nonlinearity_is_refused(value):
    p = problem_of(CASE["rnn_tanh"])
    refused(
        "nonlinearity",
        F.rnn_forward,
        p.x,
        p.weights,
        nonlinearity=value,
        **CASE["rnn_tanh"].options,
    )


# ---- caches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [None, 3, "cache", {}])
@cells
def test_what_is_no_cache_is_refused(cell, cache):
    refused("cache", backward, cell, cache)


def test_the_cache_of_another_cell_is_refused():
    for made, used in [("lstm", "gru"), ("gru", "lstm"), ("rnn_tanh", "gru"), ("gru", "rnn_relu")]:
        refused("cache", backward, used, run_forward(CASE[made]).cache)


@cells
def test_a_refused_call_leaves_a_cache_as_it_was(cell):
    cache = run_forward(CASE[cell]).cache
    before = run_backward(CASE[cell], cache)
    refused("doutput", backward, cell, cache, like((1, 1, 1)))
    assert np.array_equal(run_backward(CASE[cell], cache).x, before.x)


# ---- values --------------------------------------------------------------------------------------


@cells
def test_values_that_are_not_finite_pass_through_their_own_sequence_alone(cell):
    case = Case(cell, T=4, B=3, layers=2)
    x = problem_of(case).x.copy()
    x[1, 1] = np.nan
    dirty, clean = run_forward(case, x=x), run_forward(case)
    assert np.isnan(dirty.output[1:, 1]).all()
    assert np.array_equal(dirty.output[:, [0, 2]], clean.output[:, [0, 2]])
    assert np.array_equal(dirty.output[0], clean.output[0])


FLAGS = {
    "use_bias": lambda v: layers.LSTM(3, use_bias=v),
    "return_sequences": lambda v: layers.GRU(3, return_sequences=v),
    "trainable": lambda v: layers.Dense(3, trainable=v),
    "mask_zero": lambda v: layers.Embedding(5, 3, mask_zero=v),
    "scale": lambda v: layers.LayerNormalization(scale=v),
    "from_logits": lambda v: losses.BinaryCrossentropy(from_logits=v),
    "nesterov": lambda v: optimizers.SGD(0.1, 0.9, nesterov=v),
    "staircase": lambda v: optimizers.schedules.ExponentialDecay(0.1, 5, 0.9, staircase=v),
}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["False", 1, None])
def test_a_flag_is_no_string_or_number(name, value):
    """ "False" would be true."""
    FLAGS[name](np.bool_(False))
    with pytest.raises(TypeError, match=f"^{name}: expected a bool, got {value!r}"):
        FLAGS[name](value)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("ignore_class", lambda v: losses.SparseCategoricalCrossentropy(ignore_class=v)),
        ("class_id", lambda v: metrics.Precision(class_id=v)),
    ],
)
@pytest.mark.parametrize("value", [1.7, "a"])
def test_a_class_is_a_whole_number(name, make, value):
    make(1)
    with pytest.raises(TypeError, match=f"^{name}: expected an int, got {value!r}"):
        make(value)
