"""ONNX Runtime: a model of RNN, LSTM or GRU nodes, made here; inference in float32 only."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from peers import Peer, Runner
from workload import Array, Data, Workload

# ONNX orders the gates i, o, f, c and z, r, h; PyTorch i, f, g, o and r, z, n.
GATE_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
OPERATOR = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


class OnnxRuntime(Peer):
    """The peer of inference with frozen weights."""

    name = "onnxruntime"
    configuration = (
        "all graph optimisations, same intra-op threads (spinning allowed, its default), "
        "sequential execution, input and outputs bound to fixed memory (IOBinding), "
        "weights frozen in the session"
    )
    frozen_weights = True

    def __init__(self) -> None:
        self.runtime: Any = importlib.import_module("onnxruntime")

    def version(self) -> str:
        return str(self.runtime.__version__)

    def inference(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        if work.dtype != "float32":
            return []
        session = self._session(work, data, threads)
        feeds = {"x": data.x}
        if work.lengths is not None:
            feeds["lengths"] = np.array(work.lengths, np.int32)
        names, call = self._bound(session, feeds, _bound_shapes(work))
        shapes = _output_shapes(work)

        def arrays(result: Any) -> Mapping[str, Array]:
            found = zip(names, result(), strict=True)
            return {name: array.reshape(shapes[name]) for name, array in found}

        return [Runner(self.name, call, arrays)]

    def step(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        if work.dtype != "float32":
            return []
        session = self._session(work, data, threads, carry_state=True)
        shapes = _bound_shapes(work)
        states = [name for name in ("h_n", "c_n") if name in shapes]
        x = np.ascontiguousarray(data.x[:1])
        # Two sets of state arrays: what one call writes the next one reads.
        memory: list[dict[str, Array]] = [
            {name: np.zeros(shapes[name], np.float32) for name in states} for _ in range(2)
        ]
        calls = []
        for read, write in (memory, memory[::-1]):
            feeds = {"x": x, **{"initial_" + name: read[name] for name in states}}
            calls.append(self._bound(session, feeds, shapes, write)[1])
        turn = 0

        def call() -> Any:
            nonlocal turn
            turn = 1 - turn
            return calls[1 - turn]()

        def arrays(result: Any) -> Mapping[str, Array]:
            return {"output": result()[0][0, 0]}

        return [Runner(self.name, call, arrays)]

    def _session(self, work: Workload, data: Data, threads: int, carry_state: bool = False) -> Any:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        model = build_model(work, data, carry_state)
        return self.runtime.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"]
        )

    def _bound(
        self,
        session: Any,
        feeds: Mapping[str, Array],
        shapes: Mapping[str, tuple[int, ...]],
        given: Mapping[str, Array] | None = None,
    ) -> tuple[list[str], Any]:
        """A call that runs the session on fixed memory; it returns a function that reads it."""
        binding = session.io_binding()
        outputs = {
            name: (given or {}).get(name, np.empty(shape, np.float32))
            for name, shape in shapes.items()
        }
        values = {**feeds, **outputs}
        kept = {name: self.runtime.OrtValue.ortvalue_from_numpy(a) for name, a in values.items()}
        for name in feeds:
            binding.bind_ortvalue_input(name, kept[name])
        for name in outputs:
            binding.bind_ortvalue_output(name, kept[name])

        def read() -> list[Array]:
            return [kept[name].numpy() for name in outputs]

        def call() -> Any:
            session.run_with_iobinding(binding)
            return read

        return list(outputs), call


def _output_shapes(work: Workload) -> dict[str, tuple[int, ...]]:
    state = (work.num_layers * work.directions, work.batch, work.hidden_size)
    shapes: dict[str, tuple[int, ...]] = {
        "output": (work.steps, work.batch, work.directions * work.hidden_size),
        "h_n": state,
    }
    if work.cell == "lstm":
        shapes["c_n"] = state
    return shapes


def _bound_shapes(work: Workload) -> dict[str, tuple[int, ...]]:
    """The shapes that the model gives: of one direction [T, 1, B, H], so that nothing is copied."""
    shapes = _output_shapes(work)
    if not work.bidirectional:
        shapes["output"] = (work.steps, 1, work.batch, work.hidden_size)
    return shapes


def build_model(work: Workload, data: Data, carry_state: bool = False) -> bytes:
    """The model: x [T, B, I] to output, h_n and c_n [layers * D, B, H].

    The output is [T, 1, B, H], of two directions [T, B, 2 * H].
    """
    onnx: Any = importlib.import_module("onnx")
    helper, from_array, float32 = onnx.helper, onnx.numpy_helper.from_array, onnx.TensorProto.FLOAT
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Array) -> str:
        constants.append(from_array(value, name))
        return name

    shapes = _output_shapes(work)
    states = [name for name in ("h_n", "c_n") if name in shapes]
    inputs = [helper.make_tensor_value_info("x", float32, data.x.shape)]
    if work.lengths is not None:
        inputs.append(
            helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [work.batch])
        )
    if carry_state:
        inputs += [
            helper.make_tensor_value_info("initial_" + name, float32, shapes[name])
            for name in states
        ]
    attributes: dict[str, Any] = {
        "hidden_size": work.hidden_size,
        "direction": "bidirectional" if work.bidirectional else "forward",
    }
    if work.cell == "gru":
        attributes["linear_before_reset"] = 1
    elif work.cell == "rnn_relu":
        attributes["activations"] = ["Relu"] * work.directions

    below = "x"
    for layer in range(work.num_layers):
        weights = _onnx_weights(work, data, layer)
        given = [constant(f"{name}{layer}", value) for name, value in weights.items()]
        given.append("lengths" if work.lengths is not None else "")
        if carry_state:
            given += ["initial_" + name for name in states]
        # With one layer its states are the model's; with several they are joined below.
        ends = [name if work.num_layers == 1 else f"{name}{layer}" for name in states]
        final = layer == work.num_layers - 1
        # [T, D, B, H], of one direction the same memory as [T, B, H]
        raw = "output" if final and not work.bidirectional else f"y{layer}"
        nodes.append(
            helper.make_node(OPERATOR[work.cell], [below, *given], [raw, *ends], **attributes)
        )
        if work.bidirectional:
            nodes.append(helper.make_node("Transpose", [raw], [raw + "t"], perm=[0, 2, 1, 3]))
            raw += "t"
        if raw == "output":
            break
        below = "output" if final else f"output{layer}"
        shape = constant(f"shape{layer}", np.array(shapes["output"], np.int64))
        nodes.append(helper.make_node("Reshape", [raw, shape], [below]))
    if work.num_layers > 1:
        for name in states:
            parts = [f"{name}{layer}" for layer in range(work.num_layers)]
            nodes.append(helper.make_node("Concat", parts, [name], axis=0))
    outputs = [
        helper.make_tensor_value_info(name, float32, shape)
        for name, shape in _bound_shapes(work).items()
    ]
    graph = helper.make_graph(nodes, "recurrent", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _onnx_weights(work: Workload, data: Data, layer: int) -> dict[str, Array]:
    """W [D, G*H, I], R [D, G*H, H] and B [D, 2*G*H] of one layer in ONNX's gate order."""

    def reordered(name: str) -> Array:
        rows = data.weights[name]
        gates = rows.reshape(-1, work.hidden_size, *rows.shape[1:])
        return gates[list(GATE_ORDER[work.cell])].reshape(rows.shape)

    found = [
        [reordered(name) for name in work.parameter_names(layer, direction)]
        for direction in range(work.directions)
    ]
    return {
        "w": np.stack([w_ih for w_ih, _, _, _ in found]),
        "r": np.stack([w_hh for _, w_hh, _, _ in found]),
        "b": np.stack([np.concatenate([b_ih, b_hh]) for _, _, b_ih, b_hh in found]),
    }
