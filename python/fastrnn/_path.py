"""One batch's way through a model's layers, with its mask, and back.

Masked steps do not exist. Before layers that are ``position_free`` they are taken out of the
sequences, and after them put back as zeros, so that no layer computes them, nothing that stands in
their places can change a bit of the results, and left padding costs what right padding does:
nothing. `fastrnn.layers.base` says what is asked of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastrnn import ops
from fastrnn._typing import Array, Floating
from fastrnn.layers.base import Layer, as_mask

Backward = Callable[..., "Floating | None"]


class Path:
    """A batch between two layers, and what was done to it so far.

    Attributes
    ----------
    value : array
        The output of the last layer.
    mask : bool array [B, T] or None
        Its mask.
    """

    def __init__(self, x: Array, mask: Any, training: bool) -> None:
        self.value = x
        self.mask: Array | None = None if mask is None else as_mask(mask, x)
        self._training = training
        # The mask of the sequences before their masked steps were taken out, and after it; None
        # where they were not.
        self._places: Array | None = None
        self._compact: Array | None = None
        self._done: list[tuple[Layer | None, Backward]] = []

    def through(self, layer: Layer, following: Layer | None = None) -> None:
        """Apply a layer; the one that is ``following`` may take what this one looks up as it is."""
        self._prepare(layer)
        given = self.value
        if layer.gives_rows and following is not None and _takes_rows(following):
            output: Any = layer.rows(given, training=self._training)
        else:
            output = layer.run(given, self.mask, self._training)
        self._leave(layer, output, layer.backward, given)

    def through_logits(self, layer: Any) -> None:
        """Apply a `Dense` layer without its activation."""
        self._prepare(layer)
        given = self.value
        logits = layer.logits(given, training=self._training)
        self._leave(layer, logits, layer.logits_backward, given)

    def finish(self) -> Any:
        """Put masked steps back and return the value."""
        self._scatter()
        return self.value

    def backward(self, dy: Array) -> None:
        """Set the layers' gradients from that of `value`.

        Layers before the first one that is trained are left out.
        """
        trained = (
            i
            for i, (layer, _) in enumerate(self._done)
            if layer is not None and layer.trainable and layer.parameters
        )
        first, gradient = next(trained, len(self._done)), dy
        for layer, _ in self._done[:first]:
            if layer is not None:
                layer.forget_pass()
        for i in reversed(range(first, len(self._done))):
            dx = self._done[i][1](gradient, need_dx=i > first)
            if dx is not None:
                gradient = dx

    def _prepare(self, layer: Layer) -> None:
        if layer.finds_mask or not layer.position_free:
            self._scatter()
        if layer.finds_mask:
            self.mask = layer.compute_mask(self.value, self.mask)
        if layer.position_free:
            self._gather()

    def _leave(self, layer: Layer, value: Any, backward: Backward, given: Array) -> None:
        if self._training:
            self._done.append((layer, backward))
        self.value = value
        if not layer.finds_mask:
            self.mask = layer.compute_mask(given, self.mask)
        if self.mask is None:
            self._places = self._compact = None

    def _gather(self) -> None:
        """Take masked steps out: each sequence then begins at step 0."""
        if self.mask is None or self.mask is self._compact:
            return
        mask = self.mask
        lengths, kind = ops.count_steps(mask)
        if kind == ops.FULL:
            self.mask = None
            return
        # Also where it moves nothing: what stands at masked steps, it may be NaN, is cleared.
        longest = int(lengths.max(initial=1))
        self.value = ops.gather_steps(self.value, mask, longest)
        self._moved(lambda dy: ops.scatter_steps(dy, mask))
        self._places, self.mask = mask, np.arange(longest) < lengths[:, None]
        self._compact = self.mask

    def _scatter(self) -> None:
        """Put masked steps back, as zeros."""
        if self._places is None:
            return
        mask, steps = self._places, self.value.shape[1]
        self.value = ops.scatter_steps(self.value, mask)
        self._moved(lambda dy: ops.gather_steps(dy, mask, steps))
        self.mask, self._places, self._compact = mask, None, None

    def _moved(self, undo: Callable[[Array], Array]) -> None:
        if self._training:
            self._done.append((None, lambda dy, need_dx: undo(dy) if need_dx else None))


def _takes_rows(layer: Layer) -> bool:
    # Before layers that are not position_free masked steps may still have to be put back.
    return layer.takes_rows and layer.position_free


def single_output(layer: Layer) -> bool:
    """Whether a call returns one array, which a model can pass on."""
    several = getattr(layer, "return_state", False) or getattr(layer, "merge_mode", "") is None
    return not several and all(single_output(inner) for inner in layer.inner_layers)


def walk(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers and those inside of them."""
    return [each for layer in layers for each in (layer, *walk(layer.inner_layers))]
