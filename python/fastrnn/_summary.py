"""The table that `Sequential.summary` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastrnn._typing import Shape
from fastrnn.layers.base import Layer


def table(name: str, layers: Mapping[str, Layer], input_shape: Shape | None) -> Iterator[str]:
    """Yield the lines: a row for each layer, then the sums; without a shape nothing is built."""
    rows, shape = [], input_shape
    trained = frozen = 0
    for layer_name, layer in layers.items():
        title = f"{layer_name} ({type(layer).__name__})"
        if shape is None:
            rows.append((title, "?", "0 (unbuilt)"))
            continue
        shape = layer.output_shape(shape)
        count = layer.count_params()
        rows.append((title, str(shape), f"{count:,}"))
        trained += count if layer.trainable else 0
        frozen += 0 if layer.trainable else count
    head = ("Layer (type)", "Output Shape", "Param #")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(3)]
    line = "-" * (sum(widths) + 2 * (len(widths) - 1))
    yield f'Model: "{name}"'
    yield line
    for row in (head, *rows):
        yield f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}"
        if row is head:
            yield line.replace("-", "=")
    yield line
    yield f"Total params: {trained + frozen:,}"
    yield f"Trainable params: {trained:,}"
    yield f"Non-trainable params: {frozen:,}"
