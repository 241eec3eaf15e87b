"""The base of all layers: named parameters, a forward and a backward pass, a configuration.

Masks. A mask is a bool array [B, T], True where a step exists; None stands for all steps. It
travels beside the output, from layer to layer:

- `Layer.compute_mask` returns the mask of a layer's output from its input and that one's mask. The
  default passes the mask on. A layer that finds steps to leave out in its input says so with
  ``finds_mask`` (`Embedding` with ``mask_zero``, `Masking`); one whose output has no steps returns
  None.
- A layer with ``uses_mask`` gets it as ``forward(x, mask=...)``.
- A masked step does not exist: a state passes it unchanged, what it holds changes no other step,
  its output and its gradient are 0. Where layers are ``position_free``, a model takes masked steps
  out of the sequences before them and puts zeros in their places after them, so that it is so
  bit for bit and costs nothing. Such a layer must depend on which steps exist and in which order,
  never on where in [0, T) they stand.

After a call, ``model.output_mask`` is the mask of the model's output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastrnn import _check, ops, random
from fastrnn._registry import Registry
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers import unsupported


class Layer:
    """The base of all layers, and of one's own.

    A layer of your own overrides `forward` and `backward`; `build` if it has parameters;
    `output_shape` if the shape changes; `get_config` if its constructor takes arguments (a model
    with a layer that leaves one out is not saved). Inputs have the batch first. What masks ask of a
    layer stands at the top of this module.

    Parameters
    ----------
    name : str, optional
        The class's in lower case where it is missing; a model then numbers equal ones.
    dtype : {"float32", "float64"}, optional
        The type that the layer computes in, float32 for None; inputs are converted to it.
    trainable : bool
        False freezes the parameters. It may be set at any time.
    **others
        Keras's arguments that make no difference here, such as ``unroll``, or at their defaults.

    Attributes
    ----------
    parameters : dict of str to array
        What training changes, in place, in a fixed order.
    in_model : bool
        Whether a model has the layer: its name then stays as it is.
    gradients : dict of str to array
        What the last `backward` left, under the same names; of a layer that is not ``trainable``
        they may be missing.
    input_shape : tuple or None
        The shape that the layer was built for; None before.
    uses_mask : bool
        Whether `forward` takes ``mask``.
    finds_mask : bool
        Whether `compute_mask` looks into the input.
    position_free : bool
        Whether the layer may be given the sequences without their masked steps.
    gives_rows, takes_rows : bool
        Of two layers one after another: whether `rows` may stand for the first one's `forward`, and
        whether the second one's takes `fastrnn.functional.Rows` and its `backward` then returns the
        gradient of their table.
    gives_logits : bool
        Whether a model may take `Dense.logits` and `Dense.logits_backward`, and its loss do what
        ``activation`` says, in place of `forward` and `backward`. A class with a `forward`,
        `backward` or `activate` of its own has to say all three again.
    inner_layers : sequence of Layer
        What a wrapper wraps.
    """

    classes: ClassVar[Registry[Layer]] = Registry("layer")
    """Every layer class by its name: what a saved model's layers are made from."""

    uses_mask: bool = False
    finds_mask: bool = False
    position_free: bool = False
    gives_rows: bool = False
    takes_rows: bool = False
    gives_logits: bool = False
    inner_layers: Sequence[Layer] = ()
    kept_for_backward: ClassVar[tuple[str, ...]] = ()
    """The attributes that a training `forward` sets; `forget_pass` sets them to None."""

    def __init__(
        self,
        *,
        name: str | None = None,
        dtype: str | None = "float32",
        trainable: bool = True,
        **others: Any,
    ) -> None:
        unsupported.refuse(type(self).__name__, others)
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"name: expected a non-empty string without '/', got {name!r}")
        try:
            self.dtype = np.dtype("float32" if dtype is None else dtype)
        except TypeError:
            raise TypeError(f"dtype: expected 'float32' or 'float64', got {dtype!r}") from None
        if self.dtype not in _check.FLOATING:
            raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}")
        self.name = name or _snake_case(type(self).__name__)
        self.named = name is not None
        self.in_model = False
        self.trainable = trainable
        self.input_shape: Shape | None = None
        self.parameters: dict[str, Floating] = {}
        self.gradients: dict[str, Floating] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if _overrides(cls, "forward"):
            cls.gives_rows = cls.__dict__.get("gives_rows", False)
            cls.takes_rows = cls.__dict__.get("takes_rows", False)
        if _overrides(cls, "forward", "backward", "activate"):
            cls.gives_logits = cls.__dict__.get("gives_logits", False)
        Layer.classes.add(cls)

    # ---- to override -----------------------------------------------------------------------------

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters with `add_parameter`; called once, before the first `forward`."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape for an input's."""
        return input_shape

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs.

        With ``uses_mask`` it also takes ``mask``, a bool array [B, T] or None.
        """
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def rows(self, x: Array, *, training: bool = False) -> Floating | ops.Rows:
        """Do what `forward` does where the next layer ``takes_rows``."""
        return self.forward(x, training=training)

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Set `gradients` and return dx of the last training `forward` (None if not needed)."""
        raise NotImplementedError(f"{type(self).__name__}.backward")

    def forget_pass(self) -> None:
        """Let go of what `forward` kept for a `backward` that will not be called."""
        for name in self.kept_for_backward:
            setattr(self, name, None)
        for layer in self.inner_layers:
            layer.forget_pass()

    def gradients_for_step(self) -> Mapping[str, ops.Gradient]:
        """Return `gradients` as an optimiser may take them."""
        return self.gradients

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return the mask of the output, for an input and its mask."""
        return mask

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON can hold them."""
        return {"name": self.name, "dtype": self.dtype.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """Make the layer that `get_config` describes."""
        return cls(**config)

    def reset_states(self, rows: Sequence[int] | None = None) -> None:
        """Forget a state carried from batch to batch, all or some ``rows`` of the batch."""
        for layer in self.inner_layers:
            layer.reset_states(rows)

    def get_states(self) -> Any:
        """Return the state carried from batch to batch, for `set_states`."""
        return None

    def set_states(self, states: Any) -> None:
        """Put back what `get_states` returned."""

    # ---- given -----------------------------------------------------------------------------------

    def __call__(self, x: Any, *, mask: Any = None, training: bool = False) -> Any:
        """Build the layer where that is still to do, and run `forward`.

        Parameters
        ----------
        x : array [B, ...]
            The input.
        mask : bool array [B, T], optional
            Which of the input's steps exist.
        training : bool
            Whether `backward` follows, and dropout drops.
        """
        x = np.asarray(x)
        self.ensure_built((None, *x.shape[1:]))
        if mask is not None:
            mask = as_mask(mask, x)
        if self.finds_mask:
            mask = self.compute_mask(x, mask)
        return self.run(x, mask, training)

    def run(self, x: Array, mask: Array | None, training: bool) -> Any:
        """Call `forward`, with the mask if it takes one."""
        if self.uses_mask:
            return self.forward(x, mask=mask, training=training)  # type: ignore[call-arg]
        return self.forward(x, training=training)

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = _check.flag("trainable", value)
        for layer in self.inner_layers:
            layer.trainable = value

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
        return sum(parameter.size for parameter in self._built_parameters().values())

    def get_weights(self) -> list[Floating]:
        """Return copies of the parameters, in their order."""
        return [parameter.copy() for parameter in self._built_parameters().values()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace the parameters with ``weights``, as `get_weights` returns them.

        Raises
        ------
        ValueError
            If their number or a shape is another; nothing is changed then.
        """
        replace(self._built_parameters(), weights)

    def to_floating(self, name: str, value: Array, ndim: int | None = None) -> Floating:
        """Convert an input to the layer's type.

        Raises
        ------
        TypeError
            If it does not consist of real numbers.
        ValueError
            If ``ndim`` is given and it has another number of dimensions.
        """
        value = np.asarray(value)
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

    def _built_parameters(self) -> dict[str, Floating]:
        if not self.built:
            raise RuntimeError(f"layer {self.name!r} has no parameters yet: call it on data first")
        return self.parameters


def _overrides(cls: type[Layer], *methods: str) -> bool:
    """Whether one of the methods is another than that of the layer class before it."""
    parent = next(base for base in cls.__mro__[1:] if issubclass(base, Layer))
    return any(getattr(cls, name, None) is not getattr(parent, name, None) for name in methods)


def replace(parameters: Mapping[str, Floating], weights: Sequence[Any]) -> None:
    """Copy ``weights`` into the parameters, all or, where one does not fit, none."""
    if len(weights) != len(parameters):
        raise ValueError(f"weights: expected {len(parameters)} arrays, got {len(weights)}")
    arrays = [np.asarray(weight) for weight in weights]
    for (name, parameter), array in zip(parameters.items(), arrays, strict=True):
        if array.shape != parameter.shape:
            raise ValueError(
                f"weights: expected shape {parameter.shape} for {name}, got {array.shape}"
            )
        if array.dtype.kind not in "fiub":
            raise TypeError(f"weights: expected numbers for {name}, got {array.dtype}")
    for parameter, array in zip(parameters.values(), arrays, strict=True):
        parameter[...] = array


def as_mask(mask: Any, x: Array) -> Array:
    """Check that ``mask`` is a bool array [B, T] that goes with x [B, T, ...]."""
    array: Array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise TypeError(f"mask: expected bool, got {array.dtype}")
    if array.ndim != 2 or array.shape != x.shape[:2]:
        raise ValueError(
            f"mask: expected shape {_check.spell(x.shape[:2])} for an input of shape {x.shape}, "
            f"got {array.shape}"
        )
    return array


def both(mask: Array | None, found: Array) -> Array:
    """Return where both masks say that a step exists."""
    return found if mask is None else np.logical_and(mask, found)


def _snake_case(name: str) -> str:
    """Write ``TimeDistributed`` as ``time_distributed``, and ``LSTM`` as ``lstm``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


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
