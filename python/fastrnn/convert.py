"""Weights from and to PyTorch's state dicts and Keras's lists of arrays.

Neither package is needed: a state dict is a mapping of names to arrays (or tensors), and
Keras's ``get_weights()`` returns a list of arrays.

| | here, and PyTorch | Keras |
|---|---|---|
| `Dense`, ``Linear`` | ``weight`` [O, I], ``bias`` [O] | [I, O], [O] |
| `Embedding` | ``weight`` [V, E] | [V, E] |
| `LayerNormalization` | ``gamma``, ``beta``; PyTorch ``weight``, ``bias`` [F] | the same |
| input, recurrent weights | ``weight_ih_l0`` [G*H, I], ``weight_hh_l0`` [G*H, H] | transposed |
| LSTM's gates | i, f, g, o | i, f, c, o: the same |
| GRU's gates | r, z, n | z, r, h: the first two exchanged |
| RNN's and LSTM's bias | one; PyTorch's two are added up | [G*H] |
| GRU's biases | ``bias_ih_l0``, ``bias_hh_l0`` [3*H] | [2, 3*H] (reset_after) |

A stack of ``num_layers`` is that many layers in Keras; `Bidirectional` is the forward direction's
weights, then the other's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastrnn import random
from fastrnn._typing import Array, Floating
from fastrnn.layers import (
    Bidirectional,
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    TimeDistributed,
)
from fastrnn.layers.recurrent import RecurrentLayer
from fastrnn.model import Sequential

__all__ = ["from_keras", "from_pytorch", "to_keras", "to_pytorch"]


_RESET_BEFORE = (
    ": one bias is that of a GRU with reset_after=False, another function of its weights; expected "
    "reset_after=True, whose bias has shape [2, 3*units]"
)


class _Entry(NamedTuple):
    """One of Keras's arrays and the parameters that it holds."""

    names: tuple[str, ...]
    pack: Callable[[list[Array]], Array]
    unpack: Callable[[Array], list[Array]]


def to_keras(layer: Layer | Sequential) -> list[Floating]:
    """Return the weights of a built layer or model as Keras's ``set_weights`` takes them."""
    weights = []
    for each in _layers_of(layer):
        for entry in _entries(each):
            each.get_weights()  # says so if it is not built
            weights.append(entry.pack([each.parameters[name] for name in entry.names]).copy())
    return weights


def from_keras(layer: Layer | Sequential, weights: Sequence[Any]) -> None:
    """Take the weights that Keras's ``get_weights`` returned of the same layer or model.

    What is not built yet is built for them.

    Raises
    ------
    TypeError, ValueError
        If their number or a shape does not fit, or one is not of numbers; nothing is changed then.
    """
    arrays = [np.asarray(weight) for weight in weights]
    plan = [(each, entry) for each in _layers_of(layer) for entry in _entries(each)]
    if len(arrays) != len(plan):
        raise ValueError(f"weights: expected {len(plan)} arrays, got {len(arrays)}")
    found: dict[int, dict[str, Array]] = {}
    for i, ((each, entry), array) in enumerate(zip(plan, arrays, strict=True)):
        try:
            found.setdefault(id(each), {}).update(
                zip(entry.names, entry.unpack(array), strict=True)
            )
        except (ValueError, IndexError):
            reset_before = len(entry.names) == 2 and array.ndim == 1
            raise ValueError(
                f"weights: array {i} does not fit {' and '.join(entry.names)} of layer "
                f"{each.name!r}, got shape {array.shape}{_RESET_BEFORE if reset_before else ''}"
            ) from None
    _fill([(each, found[id(each)]) for each in _layers_of(layer) if id(each) in found])


def to_pytorch(layer: Layer, prefix: str = "") -> dict[str, Floating]:
    """Return the weights of a built layer under the names of PyTorch's module, as arrays.

    Where PyTorch has a second bias and this layer has not, it is 0.

    Raises
    ------
    TypeError, ValueError
        If ``layer`` is no layer or a model of several, or is not built.

    Examples
    --------
    >>> import torch
    >>> arrays = to_pytorch(layer)
    >>> module.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    """
    layer = _one_layer(layer)
    layer.get_weights()
    state = {}
    for name, parameter in layer.parameters.items():
        state[prefix + _pytorch_name(layer, name)] = parameter.copy()
        if name.startswith("bias_ih") and name.replace("ih", "hh", 1) not in layer.parameters:
            state[prefix + name.replace("ih", "hh", 1)] = np.zeros_like(parameter)
    return state


def from_pytorch(layer: Layer, state_dict: Mapping[str, Any], prefix: str = "") -> None:
    """Take the weights of PyTorch's module of the same kind and sizes.

    Parameters
    ----------
    layer : Dense, Embedding, LayerNormalization, RNN, LSTM, GRU, or one of them in a wrapper
        Built for them where it is not built yet. `Bidirectional` takes the weights of a module with
        ``bidirectional=True``.
    state_dict : mapping of str to array or tensor
        What ``module.state_dict()`` or ``dict(module.named_parameters())`` returned.
    prefix : str
        What the module's names begin with in a larger model, e.g. "encoder.lstm."; the others are
        left out.

    Raises
    ------
    TypeError
        If ``layer`` is no layer, ``state_dict`` no mapping, or an array is not of numbers.
    ValueError
        If ``layer`` is a model of several, a name is missing or surplus, or a shape does not fit;
        nothing is changed then.
    """
    layer = _one_layer(layer)
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            "state_dict: expected a mapping of names to arrays or tensors, got "
            f"{type(state_dict).__name__}"
        )
    state = {
        name[len(prefix) :]: _as_array(value)
        for name, value in state_dict.items()
        if name.startswith(prefix)
    }
    arrays = {}
    for name in (name for entry in _entries(layer) for name in entry.names):
        theirs = _pytorch_name(layer, name)
        if theirs not in state:
            raise ValueError(f"state_dict: {prefix + theirs!r} is missing")
        arrays[name] = state.pop(theirs)
    for name in list(state):
        single = name.replace("hh", "ih", 1)
        if name.startswith("bias_hh") and single in arrays:
            if state[name].shape != arrays[single].shape:
                raise ValueError(
                    f"state_dict: expected shape {arrays[single].shape} for {prefix + name!r}, "
                    f"got {state[name].shape}"
                )
            arrays[single] = arrays[single] + state.pop(name)
    if state:
        surplus = ", ".join(repr(prefix + name) for name in sorted(state))
        raise ValueError(f"state_dict: surplus {surplus} for layer {layer.name!r}")
    _fill([(layer, arrays)] if arrays else [])


def _as_array(value: Any) -> Array:
    """Return an array, or what a tensor holds; NumPy has no bfloat16, float32 holds all of it."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point() and value.element_size() < 4:
            value = value.float()
    return np.asarray(value)


def _layers_of(layer: Layer | Sequential) -> list[Layer]:
    """Return the layers that hold parameters of their own, without wrappers."""
    if not isinstance(layer, Layer | Sequential):
        raise TypeError(f"layer: expected a Layer or a Sequential, got {type(layer).__name__}")
    layers = layer.layers if isinstance(layer, Sequential) else [layer]
    return [each.layer if isinstance(each, TimeDistributed) else each for each in layers]


def _one_layer(layer: Layer) -> Layer:
    layers = _layers_of(layer)
    if len(layers) != 1:
        raise ValueError(
            f"layer: expected one layer, got a Sequential of {len(layers)}: convert model.layers "
            "one by one"
        )
    return layers[0]


def _entries(layer: Layer) -> Iterator[_Entry]:
    """Yield what Keras's ``get_weights`` has of a layer, in its order."""
    inner = layer.layer if isinstance(layer, Bidirectional) else layer
    if isinstance(inner, RecurrentLayer):
        for k in range(inner.num_layers):
            for suffix in (f"_l{k}", f"_l{k}_reverse")[: inner.directions]:
                yield from _recurrent_entries(inner, suffix)
    elif isinstance(layer, Dense):
        yield _Entry(("weight",), lambda w: w[0].T, lambda a: [_matrix(a).T])
        if layer.use_bias:
            yield _plain("bias")
    elif isinstance(layer, Embedding):
        yield _plain("weight")
    elif isinstance(layer, LayerNormalization):
        if layer.scale:
            yield _plain("gamma")
        if layer.center:
            yield _plain("beta")
    elif layer.parameters:
        raise TypeError(
            f"layer: expected layers of fastrnn, got {layer.name!r}, a {type(layer).__name__}"
        )


def _recurrent_entries(layer: RecurrentLayer, suffix: str) -> Iterator[_Entry]:
    def reorder(array: Array) -> Array:
        if layer.gates != 3:
            return array
        gates = array.reshape(3, -1, *array.shape[1:])
        return gates[[1, 0, 2]].reshape(array.shape)

    for kind in ("weight_ih", "weight_hh"):
        yield _Entry((kind + suffix,), lambda w: reorder(w[0]).T, lambda a: [reorder(_matrix(a).T)])
    if not layer.use_bias:
        return
    names = tuple(kind + suffix for kind in layer.biases)
    if len(names) == 1:
        yield _plain(names[0])
    else:
        yield _Entry(
            names,
            lambda biases: np.stack([reorder(bias) for bias in biases]),
            lambda a: [reorder(bias) for bias in _matrix(a)],
        )


def _plain(name: str) -> _Entry:
    return _Entry((name,), lambda w: w[0], lambda a: [a])


def _matrix(array: Array) -> Array:
    if array.ndim != 2:
        raise ValueError
    return array


def _pytorch_name(layer: Layer, name: str) -> str:
    if isinstance(layer, LayerNormalization):
        return {"gamma": "weight", "beta": "bias"}[name]
    return name


def _fill(found: list[tuple[Layer, dict[str, Array]]]) -> None:
    """Give the layers their parameters, all or none."""
    drawn, before = random.get_state(), [_attributes(layer) for layer, _ in found]
    try:
        for layer, arrays in found:
            _build_for(layer, arrays)
            _check_arrays(layer, arrays)
    except Exception:
        # What was built for wrong sizes would refuse the right arrays.
        random.set_state(drawn)
        for each, attributes in itertools.chain.from_iterable(before):
            vars(each).update(attributes)
        raise
    for layer, arrays in found:
        layer.set_weights([arrays[name] for name in layer.parameters])


def _attributes(layer: Layer) -> list[tuple[Layer, dict[str, Any]]]:
    """Return what building changes of a layer and its inner ones."""
    if layer.built:
        return []
    return [(each, {**vars(each), "parameters": {}}) for each in (layer, *layer.inner_layers)]


def _check_arrays(layer: Layer, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        expected = layer.parameters[name].shape
        if array.shape != expected:
            raise ValueError(
                f"{name} of layer {layer.name!r}: expected shape {expected}, got {array.shape}"
            )
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} of layer {layer.name!r}: expected numbers, got {array.dtype}")


def _build_for(layer: Layer, arrays: Mapping[str, Array]) -> None:
    """Build a layer that is not built yet for the sizes of its first parameter."""
    if layer.built:
        return
    if isinstance(layer, Embedding):
        layer.ensure_built((None, None))
        return
    name, first = next(iter(arrays.items()))
    ndim = 1 if isinstance(layer, LayerNormalization) else 2
    if first.ndim != ndim:
        raise ValueError(
            f"{name} of layer {layer.name!r}: expected {ndim} dimension{'s' * (ndim > 1)}, got "
            f"shape {first.shape}"
        )
    steps = () if isinstance(layer, Dense | LayerNormalization) else (None,)
    layer.ensure_built((None, *steps, first.shape[-1]))
