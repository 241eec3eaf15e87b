"""The base of all layers: named parameters, a forward and a backward pass, a configuration."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np

from fastrnn import _check, random
from fastrnn._typing import Array, Floating, Shape


class Layer:
    """The base of all layers, and of one's own.

    A layer of your own overrides `forward` and `backward`; `build` if it has parameters;
    `output_shape` if the shape changes; `get_config` if its constructor takes arguments. Inputs
    have the batch first.

    Parameters
    ----------
    name : str, optional
        The class's in lower case where it is missing; a model then numbers equal ones.
    dtype : {"float32", "float64"}
        The type that the layer computes in; inputs are converted to it.
    trainable : bool
        False freezes the parameters.

    Attributes
    ----------
    parameters : dict of str to array
        What training changes, in place, in a fixed order.
    gradients : dict of str to array
        What the last `backward` left, under the same names.
    input_shape : tuple or None
        The shape that the layer was built for; None before.
    """

    classes: ClassVar[dict[str, type[Layer]]] = {}
    """Every layer class by its name: what a saved model's layers are made from."""

    def __init__(
        self, *, name: str | None = None, dtype: str = "float32", trainable: bool = True
    ) -> None:
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name: expected a non-empty string without '/', got {name!r}")
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype: expected 'float32' or 'float64', got {dtype!r}") from None
        if self.dtype not in _check.FLOATING:
            raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}")
        self.name = name or _snake_case(type(self).__name__)
        self.named = name is not None
        self.trainable = bool(trainable)
        self.input_shape: Shape | None = None
        self.parameters: dict[str, Floating] = {}
        self.gradients: dict[str, Floating] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Layer.classes[cls.__name__] = cls

    # ---- to override -----------------------------------------------------------------------------

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters with `add_parameter`; called once, before the first `forward`."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape for an input's."""
        return input_shape

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Set `gradients` and return dx of the last training `forward` (None if not needed)."""
        raise NotImplementedError(f"{type(self).__name__}.backward")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON can hold them."""
        return {"name": self.name, "dtype": self.dtype.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """Make the layer that `get_config` describes."""
        return cls(**config)

    def reset_states(self) -> None:
        """Forget a state carried from batch to batch; most layers have none."""

    def get_states(self) -> Any:
        """Return the state carried from batch to batch, for `set_states`."""
        return None

    def set_states(self, states: Any) -> None:
        """Put back what `get_states` returned."""

    # ---- given -----------------------------------------------------------------------------------

    def __call__(self, x: Any, *, training: bool = False) -> Floating:
        """Build the layer where that is still to do, and run `forward`."""
        x = np.asarray(x)
        self.ensure_built((None, *x.shape[1:]))
        return self.forward(x, training=training)

    @property
    def built(self) -> bool:
        """Whether the parameters exist."""
        return self.input_shape is not None

    def ensure_built(self, input_shape: Shape) -> None:
        """Create the parameters for ``input_shape`` unless they exist."""
        if self.input_shape is None:
            self.build(input_shape, random.generator())
            self.input_shape = input_shape

    def add_parameter(self, name: str, value: Array) -> None:
        """Add a parameter with its initial value; it is stored in the layer's type."""
        # order="C": QR and transposes give Fortran order, and the core reads rows.
        self.parameters[name] = np.array(value, self.dtype, order="C")

    def count_params(self) -> int:
        """Return the number of numbers in the parameters."""
        return sum(parameter.size for parameter in self.parameters.values())

    def to_floating(self, name: str, value: Array, ndim: int | None = None) -> Floating:
        """Convert an input to the layer's type.

        Raises
        ------
        TypeError
            If it does not consist of real numbers.
        ValueError
            If ``ndim`` is given and it has another number of dimensions.
        """
        if value.dtype.kind not in "fiub":
            raise TypeError(f"{name} of layer {self.name!r}: expected numbers, got {value.dtype}")
        if ndim is not None and value.ndim != ndim:
            raise ValueError(
                f"{name} of layer {self.name!r}: expected {ndim} dimensions, "
                f"got shape {value.shape}"
            )
        return np.asarray(value, self.dtype)

    def need(self, cached: Any) -> Any:
        """Return what `forward` kept for `backward`, or say that there was none."""
        if cached is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: call forward(x, training=True) first"
            )
        return cached


def _snake_case(name: str) -> str:
    """Write ``TimeDistributed`` as ``time_distributed``, and ``LSTM`` as ``lstm``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def last_size(layer: Layer, input_shape: Shape, ndim: int | None = None) -> int:
    """Return the size of the last axis, which a layer with weights must know."""
    if ndim is not None and len(input_shape) != ndim:
        raise ValueError(
            f"layer {layer.name!r}: expected an input of {ndim} dimensions, "
            f"got shape {_check.spell(input_shape)}"
        )
    size = input_shape[-1]
    if size is None or size < 1:
        raise ValueError(
            f"layer {layer.name!r}: expected an input whose last size is known and at least 1, "
            f"got shape {_check.spell(input_shape)}"
        )
    return size
