"""Lets every allocation of some calls of the core fail, one after the other.

Run in a process of its own, with failing_memory.cpp preloaded (test_out_of_memory.py): each time
the caller must get a MemoryError, and the next call its result. Where workspaces fail each try is a
fork's: blocks that an earlier call gave back would spare it their allocation.
"""

import ctypes
import faulthandler
import os
import pickle
import traceback

import numpy as np

import fastrnn
from fastrnn import _core, functional

shim = ctypes.CDLL(None)


def floats(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def weights(gates, inputs, hidden, directions=1):
    return {
        f"{kind}_l0{suffix}": floats(gates * hidden, *columns)
        for suffix in ("", "_reverse")[:directions]
        for kind, columns in (
            ("weight_ih", (inputs,)), ("weight_hh", (hidden,)), ("bias_ih", ()), ("bias_hh", ())
        )
    }  # fmt: skip


def training(cell, gates, steps, batch, inputs, hidden, directions=1, **options):
    forward = getattr(functional, f"{cell}_forward")
    backward = getattr(functional, f"{cell}_backward")
    x, parameters = floats(steps, batch, inputs), weights(gates, inputs, hidden, directions)

    def call():
        y, _, cache = forward(x, parameters, bidirectional=directions == 2, **options)
        dx, _, gradients = backward(cache, y)
        return [y, dx, *gradients.values()]

    return call


def linear():
    x, weight, dout = floats(500, 100), floats(300, 100), floats(500, 300)
    results = [np.empty_like(x), np.empty_like(weight), np.empty(300, np.float32)]
    _core.linear_backward(x, weight, dout, *results)
    return results


def embedding():
    ids, dtable = np.arange(200_000) % 1000, np.zeros((1000, 4), np.float32)
    _core.embedding_backward(ids, floats(len(ids), 4), dtable)
    return [dtable]


def adam():
    values, gradients = [floats(300, 100) for _ in range(3)], [floats(300, 100) for _ in range(3)]
    moments = [[np.zeros_like(value) for value in values] for _ in range(2)]
    _core.adam(
        values, gradients, *moments, [], 1, 1e-3, 0.9, 0.999, 1e-7, 0.0, 1.0, "global_norm", 1.0
    )
    return values


def packing():
    layer = fastrnn.Recurrent("gru", weights(3, 100, 200))
    return [layer(floats(4, 3, 100))[0]]


def steps(stream):
    stream.reset()
    return [stream.step(floats(2, 300)).copy() for _ in range(2)]


def other_batch(stream):
    """Where the new state finds no room, the old one must stand."""
    before = stream.state
    try:
        stream.reset((floats(1, 200, 300), floats(1, 200, 300)))
    except MemoryError:
        np.testing.assert_array_equal(stream.state, before)
        raise
    state = [part.copy() for part in stream.state]
    stream.reset(before)
    return state


def in_child(function, *arguments):
    """What it returns in a fork of this process."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with open(sink, "wb") as pipe:
                pickle.dump(function(*arguments), pipe)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    os.close(sink)
    with open(source, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(answer)


def fail_once(kind, n, call, expected):
    """Whether the call ended with a MemoryError, and whether it made n allocations of the kind."""
    fail_in, left = getattr(shim, f"fail_{kind}_in"), getattr(shim, f"{kind}_calls_left")
    left.restype = ctypes.c_long
    fail_in(ctypes.c_long(n))
    try:
        result = call()
    except MemoryError:
        result = None
    made = left() <= 0
    fail_in(ctypes.c_long(0))
    for got, want in zip(call() if result is None else result, expected, strict=True):
        np.testing.assert_array_equal(got, want)
    return result is None, made


def errors_of(attempt):
    """How many attempts ended with a MemoryError, with n from 1 until so many were not made.

    Those of a team are many and alike: after the first 30 some are left out.
    """
    errors, n, made = 0, 1, True
    while made:
        ended, made = attempt(n)
        errors += ended
        n += 1 + n // 30 if _core.get_num_threads() > 1 else 1
    return errors


def starve(name, call, prepare=lambda: None, blocks=True):
    """blocks: the call takes some from aligned_alloc."""

    def expect():
        prepare()
        return call()

    expected = in_child(expect)

    def news():
        prepare()
        return errors_of(lambda n: fail_once("new", n, call, expected))

    def block(n):
        prepare()
        return fail_once("aligned_alloc", n, call, expected)

    of_new, of_blocks = in_child(news), errors_of(lambda n: in_child(block, n))
    print(name, of_new, of_blocks)
    assert of_new > 0
    assert (of_blocks > 0) == blocks


if __name__ == "__main__":
    faulthandler.enable()
    lengths = np.arange(40) % 31
    stream = fastrnn.Recurrent("lstm", weights(4, 300, 300))
    for threads in (1, 3):
        _core.set_num_threads(threads)
        starve("rows", training("lstm", 4, 30, 40, 32, 48, lengths=lengths, recompute="gates"))
        starve("units", training("gru", 3, 4, 4, 300, 300))
        starve("bidirectional", training("rnn", 1, 30, 40, 64, 200, directions=2))
        starve("linear", linear)
        starve("embedding", embedding, blocks=False)
        starve("adam", adam, blocks=False)
        starve("packing", packing)
        starve("steps", lambda: steps(stream))
        starve("another batch", lambda: other_batch(stream), lambda: steps(stream))
    print("survived")
