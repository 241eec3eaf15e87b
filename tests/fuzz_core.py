"""Calls the compiled core's functions with right arguments, some of them replaced by wrong ones.

Run in a process of its own (test_core_survives.py): whatever comes, Python must get it as an
exception. Each call is printed before it is made: the last line tells which ended the process.
"""

import faulthandler
import itertools
import random

import numpy as np

from fastrnn import _core

T, B, INPUTS, H, LAYERS, DIRECTIONS = 3, 2, 4, 5, 2, 2
NOT_MADE = {"Cache", "PackedWeights"}  # by their classes: functions return them


def floats(*shape, dtype=np.float32):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


def plan_arguments():
    lengths = np.array([3, 1])
    return [
        "lstm", False, T, B, INPUTS, H, LAYERS, DIRECTIONS, lengths, 0.5, 7, True, "checkpoint", 0,
        T + 2,
    ]  # fmt: skip


def weights(directions=DIRECTIONS):
    arrays = []
    for layer in range(LAYERS):
        for _ in range(directions):
            columns = INPUTS if layer == 0 else directions * H
            arrays += [floats(4 * H, columns), floats(4 * H, H), floats(4 * H), floats(4 * H)]
    return arrays


def recurrent(rows=None):
    """Right arguments of recurrent_forward and of recurrent_backward; rows: x's by step."""
    plan, x, state = (
        _core.Plan(*plan_arguments()),
        floats(T, B, INPUTS) if rows is None else floats(rows.max() + 1, INPUTS),
        (LAYERS * DIRECTIONS, B, H),
    )
    out = floats(T, B, DIRECTIONS * H)
    head = [x, weights(), floats(*state), floats(*state), out]
    forward = [plan, *head, floats(*state), floats(*state), out.copy(), rows]
    cache = _core.recurrent_forward(*forward)
    incoming = [out.copy(), floats(*state), floats(*state), out.copy()]
    results = [floats(*x.shape), floats(*state), floats(*state), weights()]
    return forward, [plan, cache, *head, *incoming, *results, rows is None, rows, None]


def packed(directions):
    """A plan of inference, and the weights packed for it."""
    plan = _core.Plan("lstm", False, T, B, INPUTS, H, LAYERS, directions, None, 0.0, 0, False)
    return plan, _core.pack_weights(plan, weights(directions))


def stepper():
    """One that carries a state."""
    made = _core.Stepper(packed(1)[1])
    made.step(floats(B, INPUTS))
    return made


def of_classes():
    """The calls of `calls()` that make objects of the core, or are of one."""
    (plan, stack), state = packed(DIRECTIONS), floats(LAYERS, B, H)
    of_training = _core.Plan(*plan_arguments())
    inference, (_, backward) = recurrent()[0], recurrent()
    inference[0], inference[2], inference[8] = plan, stack, None
    return {
        "Plan": plan_arguments(),
        "Plan.chunk_steps": [of_training],
        "Plan.cache_nbytes": [of_training],
        "pack_weights": [of_training, weights()],
        "PackedWeights.nbytes": [stack],
        "PackedWeights.isa": [stack],
        "recurrent_forward packed": inference,
        "Cache.nbytes": [backward[1]],
        "Cache.row_sums_size": [backward[1], of_training, 4],
        "Inference": [stack, False],
        "Inference.run": [
            _core.Inference(stack, False), floats(T, B, INPUTS),
            tuple(floats(LAYERS * DIRECTIONS, B, H) for _ in range(2)),
        ],
        "Stepper": [packed(1)[1]],
        "Stepper.step": [stepper(), floats(B, INPUTS)],
        "Stepper.reset": [stepper(), state, state],
        "Stepper.state": [stepper()],
    }  # fmt: skip


def of_runtime():
    """The calls of `calls()` that ask for settings or change them."""
    asked = ("compiler", "available_isas", "compiled_isas", "get_isa", "get_num_threads")
    return {
        **{name: [] for name in (*asked, "openmp_runtime", "get_awake_seconds")},
        "set_isa": [_core.get_isa()],
        "set_num_threads": [2],
        "set_awake_seconds": [float("inf")],
        "note_paces": [[1.0, 2.0]],
        "fma_peak": [False, 2, 0.001],
        "read_bandwidth": [5000, 2, 0.001],
    }


def calls():
    """Name, and perhaps a word more -> right arguments."""
    three = [floats(6), floats(2, 3), floats(1)]
    ids = np.array([0, 3, 2])
    mask = np.array([[True, False, True], [False, False, True]])
    forward, backward = recurrent()
    of_rows, of_rows_backward = recurrent(np.arange(T * B).reshape(T, B) % 4)
    return {
        **of_classes(),
        "recurrent_forward": forward,
        "recurrent_backward": backward,
        "recurrent_forward rows": of_rows,
        "recurrent_backward rows": of_rows_backward,
        "linear_forward": [floats(3, 4), floats(5, 4), floats(5), floats(3, 5)],
        "linear_backward": [
            floats(3, 4), floats(5, 4), floats(3, 5), floats(3, 4), floats(5, 4), floats(5),
        ],
        "number_ids": [ids],
        "embedding_forward": [ids, floats(4, 2), floats(3, 2)],
        "embedding_backward": [ids, floats(3, 2), floats(4, 2)],
        "dropout": [floats(2, 3, 4), floats(2, 3, 4), 0.5, 7, 0, 0],
        "softmax_cross_entropy": [floats(3, 4), ids, floats(3), 0.5, floats(3), floats(3, 4)],
        "cross_entropy": [floats(3, 4), ids, floats(3), 0.5, floats(3), floats(3, 4)],
        "row_loss": [
            "huber", floats(3, 4), floats(3, 4), floats(3), 0.5, 1.0, floats(3), floats(3, 4),
        ],
        "activation": ["gelu", floats(9), floats(9)],
        "activation_backward": ["gelu", floats(9), floats(9), floats(9)],
        "activation_keeps_input": ["gelu"],
        "softmax": [floats(3, 4), floats(3, 4)],
        "softmax_backward": [floats(3, 4), floats(3, 4), floats(3, 4)],
        "layer_norm_forward": [
            floats(3, 4), floats(4), floats(4), 1e-3, floats(3, 4), floats(3), floats(3),
        ],
        "layer_norm_backward": [
            floats(3, 4), floats(4), floats(3), floats(3), floats(3, 4), floats(3, 4), floats(4),
            floats(4),
        ],
        "packed_lengths": [np.array([2, 1]), 3, np.zeros(2, np.int64)],
        "count_steps": [mask, np.zeros(2, np.int64)],
        "gather_steps": [mask, floats(2, 3, 4), floats(2, 2, 4)],
        "scatter_steps": [mask, floats(2, 2, 4), True, floats(2, 3, 4)],
        "scatter_steps_backward": [mask, floats(2, 3, 4), floats(2, 2, 4)],
        "differs": [floats(2, 3, 4), 0.0, mask.copy()],
        "pool": ["max", floats(2, 3, 4), mask, floats(2, 4), np.zeros((2, 4), np.int32)],
        "pool_backward": ["max", floats(2, 4), mask, np.zeros((2, 4), np.int32), floats(2, 3, 4)],
        "merge": ["mul", floats(2, 6), floats(2, 3)],
        "merge_backward": ["mul", floats(2, 6), floats(2, 3), floats(2, 6)],
        "sgd": [three, three, three, 0.1, 0.9, True, 0.0, 1.0, "value", 1.0],
        "adam": [
            three, three, three, three, three, 1, 0.1, 0.9, 0.999, 1e-7, 0.0, 1.0, "norm", 1.0,
        ],
        "rmsprop": [
            three, three, three, three, three, 0.1, 0.9, 0.9, 1e-7, 0.0, 1.0, "global_norm", 1.0,
        ],
        "sgd rows": [
            [floats(4, 2)], [(ids, floats(3, 2))], [floats(4, 2)], 0.1, 0.9, True, 0.0, 1.0,
            "value", 1.0,
        ],
        "global_norm": [three],
        **of_runtime(),
    }  # fmt: skip


def public():
    """The names in `calls()` of all that the core offers."""
    names = {name for name in vars(_core) if not name.startswith("_")}
    classes = {name for name in names if isinstance(getattr(_core, name), type)}
    members = {
        f"{owner}.{name}"
        for owner in classes
        for name in vars(getattr(_core, owner))
        if not name.startswith("_")
    }
    return names - NOT_MADE | members


def function_of(name):
    """What `calls()` calls by this name; of a class's members it takes the object first."""
    owner, _, member = name.split()[0].rpartition(".")
    if owner:
        return unbound(getattr(getattr(_core, owner), member))
    function = getattr(_core, member)
    if member in ("fma_peak", "read_bandwidth"):
        return lambda double, threads, seconds: function(double, threads, brief(seconds))
    return function


def unbound(member):
    """A method, or what reads a property and calls it if it is a function."""
    if not isinstance(member, property):
        return member

    def read(made, *given):
        value = member.fget(made)
        return value(*given) if callable(value) else value

    return read


def brief(seconds):
    """A long time is right, but nobody waits for it."""
    number = isinstance(seconds, (int, float))
    return seconds if not number or seconds <= 0.001 else 0.001


def cache_of_another_plan():
    plan = _core.Plan("lstm", False, 1, 1, 1, 1, 1, 1, None, 0.0, 0, True)
    weights = [floats(4, 1), floats(4, 1), None, None]
    return _core.recurrent_forward(
        plan, *[floats(1, 1, 1), weights, None, None], *(floats(1, 1, 1) for _ in range(3)), None
    )


def wrong_values():
    frozen = floats(3, 2)
    frozen.flags.writeable = False
    big = 2**40
    scalars = [None, True, 0, 1, -1, 7, big, -big, 2**63, 2**70, 0.5, -0.5, np.nan, np.inf]
    others = ["", "lstm", "gru", b"bytes", object(), [], {}, (1, 2), [None] * 16, [floats(2)] * 16]
    shapes = [(), (0,), (0, 3), (3, 0, 2), (3,), (2, 3, 4), (3, 2, 10), (4, 2, 5), (1, 1, 1, 1, 1)]
    integers = [
        np.array([9, 9]),
        np.array([-1, 5]),
        np.array([1, 2], np.int32),
        np.array([3, 1], ">i8"),
    ]
    return [
        *scalars,
        *others,
        *(floats(*shape) for shape in shapes),
        *integers,
        *(
            floats(4, 2, 5, dtype=dtype)
            for dtype in (np.float16, np.float64, ">f4", complex, object)
        ),
        frozen,
        np.array(["a", "b"]),
        np.ones((2, 3), bool),
        np.ones((3, 2), bool).T[:, ::-1],
        np.ones((4, 9), bool),
        np.broadcast_to(np.float32(1), (3, 2, 10)),
        floats(3, 2, 20)[:, :, ::2],
        floats(10, 2, 3).T,
        np.arange(30, dtype=np.uint8)[1:29].view(np.float32),  # not aligned
        _core.Plan("gru", True, 1, 1, 1, 1, 1, 1, None, 0.0, 0, False),
        _core.Plan("lstm", False, 50, 40, 30, 60, LAYERS, DIRECTIONS, None, 0.0, 0, True),
        _core.Plan("gru", False, T, B, INPUTS, H, LAYERS, DIRECTIONS, None, 0.0, 0, True),
        cache_of_another_plan(),
        *((np.array([0, n]), floats(2, 2)) for n in (4, -1, 2**40)),  # rows of a table of 4
        packed(1)[1],
        packed(DIRECTIONS)[1],
        stepper(),
    ]


def replacements(arguments, wrong, chosen):
    """Every argument, and an element of every list of arrays, replaced by every wrong value."""
    for place, value in itertools.product(range(len(arguments)), wrong):
        yield [*arguments[:place], value, *arguments[place + 1 :]], (place, value)
        if isinstance(arguments[place], list):
            inner = list(arguments[place])
            inner[chosen.randrange(len(inner))] = value
            yield [*arguments[:place], inner, *arguments[place + 1 :]], (place, "inside", value)
    for _ in range(100 if arguments else 0):
        two = chosen.sample(range(len(arguments)), k=min(2, len(arguments)))
        changed = list(arguments)
        for place in two:
            changed[place] = chosen.choice(wrong)
        yield changed, two


def main():
    faulthandler.enable()
    _core.set_awake_seconds(float("inf"))  # small teams, too, are teams
    chosen, wrong, raised, count = random.Random(0), wrong_values(), 0, 0
    right_calls = calls()
    assert {name.split()[0] for name in right_calls} == public()
    for name, right in right_calls.items():
        function = function_of(name)
        function(*right)
        for arguments, change in replacements(right, wrong, chosen):
            print(name, repr(change)[:200].replace("\n", " "), flush=True)
            try:
                function(*arguments)
            except Exception:
                raised += 1
            count += 1
        _core.set_num_threads(2)
        _core.set_awake_seconds(float("inf"))
    assert raised > 0.8 * count
    print("survived", count)


if __name__ == "__main__":
    main()
