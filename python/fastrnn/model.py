"""Sequential: layers one after another, trained together."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TypeGuard

import numpy as np

from fastrnn import saving
from fastrnn._path import Path, single_output, walk
from fastrnn._summary import table
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer, replace
from fastrnn.layers.dense import Dense
from fastrnn.layers.input import InputLayer
from fastrnn.trainer import Trainer


class Sequential(Trainer):
    """Layers, each working on the output of the one before; `Trainer` has what trains them.

    Parameters
    ----------
    layers : iterable of Layer, optional
        More can be added with `add`. With an `Input` in the first place the parameters exist at
        once, else when the model is first called or built.
    name : str
        What `summary` calls it.

    Attributes
    ----------
    output_mask : bool array [B, T] or None
        Which steps of the last output exist: see `fastrnn.layers.base`. None: all, or it has none.
    metadata : dict of str to str
        What `save` was given besides the model, after `load`.
    """

    def __init__(self, layers: Iterable[Layer] = (), name: str = "sequential") -> None:
        super().__init__()
        self.name = name
        self.layers: list[Layer] = []
        self.output_mask: Array | None = None
        self._path: Path | None = None
        self.input_shape: Shape | None = None
        self.metadata: dict[str, str] = {}
        for layer in layers:
            self.add(layer)

    # ---- layers and parameters -------------------------------------------------------------------

    def add(self, layer: Layer) -> None:
        """Append a layer; one without a name of its own is numbered if another has its name.

        In a model that is built it is built, too.
        """
        if not isinstance(layer, Layer):
            raise TypeError(f"layer: expected a Layer, got {layer!r}")
        if isinstance(layer, InputLayer):
            if self.layers or self.built:
                raise ValueError("layer: Input is a model's first element, got it after others")
            self.input_shape = layer.batch_shape
            return
        if not single_output(layer):
            raise ValueError(
                f"layer {layer.name!r}: return_state and merge_mode=None give several arrays, "
                "a Sequential passes one"
            )
        present = {id(each) for each in walk(self.layers)}
        if any(id(each) in present for each in walk([layer])):
            raise ValueError(
                f"layer: {layer.name!r} is in the model already; its gradient would be that of one "
                "of its places"
            )
        taken = self.named_layers()
        if layer.named and layer.name in taken:
            raise ValueError(f"layer: the model already has one named {layer.name!r}")
        # Another model goes by the name of a layer that it has.
        if not layer.in_model:
            layer.name = _numbered(layer.name, taken)
        if self.input_shape is not None:
            layer.ensure_built(self._output_shape(self.input_shape))
        layer.in_model = True
        self.layers.append(layer)

    def named_layers(self) -> dict[str, Layer]:
        """Return the layers by the names that they have in this model.

        Those are the layers' own; one that another model has as well is numbered here alone, where
        a layer before it has its name.
        """
        named: dict[str, Layer] = {}
        for layer in self.layers:
            named[_numbered(layer.name, named)] = layer
        return named

    @property
    def built(self) -> bool:
        """Whether the parameters exist."""
        return self.input_shape is not None

    def build(self, input_shape: Shape) -> None:
        """Create all parameters for inputs of this shape, e.g. (None, None) for ids [B, T]."""
        if not self.layers:
            raise RuntimeError("the model has no layers: add one")
        if self.built:
            return
        shape = tuple(input_shape)
        for layer in self.layers:
            layer.ensure_built(shape)
            shape = layer.output_shape(shape)
        self.input_shape = tuple(input_shape)

    def _output_shape(self, shape: Shape) -> Shape:
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    @property
    def parameters(self) -> dict[str, Floating]:
        """All parameters, as "layer.parameter", in the layers' order."""
        return {
            f"{layer_name}.{name}": parameter
            for layer_name, layer in self.named_layers().items()
            for name, parameter in layer.parameters.items()
        }

    @property
    def gradients(self) -> dict[str, Floating]:
        """What the last `backward` left of gradients, under the parameters' names."""
        return {
            f"{layer_name}.{name}": gradient
            for layer_name, layer in self.named_layers().items()
            for name, gradient in layer.gradients.items()
        }

    def get_weights(self) -> list[Floating]:
        """Return copies of all parameters, in the layers' order."""
        return [parameter.copy() for parameter in self._built_parameters().values()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all parameters with ``weights``, as `get_weights` returns them.

        Raises
        ------
        ValueError
            If their number or a shape is another; nothing is changed then.
        """
        replace(self._built_parameters(), weights)

    def count_params(self) -> int:
        """Return the number of numbers in all parameters."""
        return sum(parameter.size for parameter in self._built_parameters().values())

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print a table of the layers, their output shapes and numbers of parameters.

        Before the model is built there are question marks in their places.
        """
        for line in table(self.name, self.named_layers(), self.input_shape):
            print_fn(line)

    @property
    def trainable(self) -> bool:
        """Whether any layer is trained; setting it sets all."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def reset_states(self, rows: Sequence[int] | None = None) -> None:
        """Let all stateful layers begin the next batch with zeros, in all rows or in some.

        Parameters
        ----------
        rows : sequence of int, optional
            The rows of the batch where a new sequence begins; the others go on.
        """
        for layer in self.layers:
            layer.reset_states(rows)

    def get_states(self) -> list[Any]:
        """Return what stateful layers carry, for `set_states`."""
        return [layer.get_states() for layer in self.layers]

    def set_states(self, states: Sequence[Any]) -> None:
        """Put back what `get_states` returned."""
        for layer, state in zip(self.layers, states, strict=True):
            layer.set_states(state)

    def get_seed_counts(self) -> list[int]:
        """Return how many masks layers with a ``seed`` drew, for `set_seed_counts`.

        With `fastrnn.random.get_state` it is all that a training to be gone on with draws from.
        """
        return [layer.seeds.count for layer in walk(self.layers) if hasattr(layer, "seeds")]

    def set_seed_counts(self, counts: Sequence[int]) -> None:
        """Go on drawing masks from where `get_seed_counts` was called."""
        streams = [layer.seeds for layer in walk(self.layers) if hasattr(layer, "seeds")]
        for stream, count in zip(streams, counts, strict=True):
            stream.count = int(count)

    def _built_parameters(self) -> dict[str, Floating]:
        if not self.built:
            raise RuntimeError("the model has no parameters yet: call build(input_shape) first")
        return self.parameters

    # ---- forward and backward --------------------------------------------------------------------

    def __call__(self, x: Any, *, mask: Any = None, training: bool = False) -> Floating:
        """Return the output for one batch.

        Parameters
        ----------
        x : array [B, ...]
            The input.
        mask : bool array [B, T], optional
            Which of its steps exist, besides what `Embedding` and `Masking` find.
        training : bool
            Whether `backward` follows, and dropout drops.
        """
        path = self._enter(x, mask, training)
        self._through(path, self.layers)
        return self._leave(path, training)

    def logits(self, x: Any, *, mask: Any = None, training: bool = False) -> Floating:
        """Return the output for one batch before the activation of the last layer, a `Dense`."""
        last = self._last_dense()
        path = self._enter(x, mask, training)
        self._through(path, self.layers[:-1])
        path.through_logits(last)
        return self._leave(path, training)

    def activate(self, logits: Floating) -> Floating:
        """Return the output that belongs to what `logits` returned."""
        return self._last_dense().activate(logits)

    def ends_in(self, activation: str | None) -> bool:
        """Whether the last layer is a `Dense` with this activation that ``gives_logits``."""
        last = self.layers[-1] if self.layers else None
        return _gives_logits(last) and last.activation == activation

    def backward(self, dy: Array) -> None:
        """Set the layers' gradients from that of the last training call's output.

        That call is ``model(x, training=True)`` or ``model.logits(x, training=True)``. Layers
        before the first one that is trained are left out.
        """
        if self._path is None:
            raise RuntimeError("backward: call the model with training=True first")
        path, self._path = self._path, None
        path.backward(dy)

    def _last_dense(self) -> Dense:
        last = self.layers[-1] if self.layers else None
        if not _gives_logits(last):
            raise TypeError(
                "expected a model that ends in a Dense layer, without a forward of its own, "
                f"got {type(last).__name__}"
            )
        return last

    def _enter(self, x: Any, mask: Any, training: bool) -> Path:
        value: Array = np.asarray(x)
        self.build((None, *value.shape[1:]))
        return Path(value, mask, training)

    def _through(self, path: Path, layers: Sequence[Layer]) -> None:
        for layer, following in zip_longest(layers, layers[1:]):
            path.through(layer, following)

    def _leave(self, path: Path, training: bool) -> Floating:
        output: Floating = path.finish()
        self.output_mask = path.mask
        if training:
            self._path = path
        return output

    # ---- files -----------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, str] | None = None,
        *,
        include_optimizer: bool = False,
    ) -> None:
        """Write the layers and their parameters to one safetensors file, whole or not at all.

        Parameters
        ----------
        path : path
            Where to; an existing file is replaced.
        metadata : mapping of str to str, optional
            More to keep in the file, e.g. a vocabulary; `load` puts it into ``model.metadata``.
        include_optimizer : bool
            Write loss, metrics and optimiser, too, so that the loaded model can be trained further.
            To go on with a training that was stopped, see `fastrnn.callbacks.BackupAndRestore`.
        """
        self._built_parameters()
        metadata = self.metadata if metadata is None else metadata
        saving.save(self, path, metadata, include_optimizer)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sequential:
        """Return the model that `save` wrote, compiled if it was saved with its optimiser.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not a whole model file.
        """
        model = cls()
        saving.load(model, path)
        return model


def _gives_logits(layer: Layer | None) -> TypeGuard[Dense]:
    return isinstance(layer, Dense) and layer.gives_logits


def _numbered(name: str, taken: Collection[str]) -> str:
    """Return ``name``, with the first number that makes it another than those that are taken."""
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
