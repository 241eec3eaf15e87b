"""The ``fastrnn`` command."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import click

EXAMPLES = {
    "adding": "adding",
    "digits": "digits",
    "forecast": "forecast",
    "language-model": "language_model",
    "predict": "predict",
    "sentiment": "sentiment",
}
"""The commands that are modules of `fastrnn.examples`."""


class Commands(click.Group):
    """The commands below, and the examples, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return sorted([*super().list_commands(ctx), *EXAMPLES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name."""
        if cmd_name not in EXAMPLES:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"fastrnn.examples.{EXAMPLES[cmd_name]}")
        command: click.Command = module.command
        return command


def _finite(_context: click.Context, _option: click.Parameter, value: float) -> float:
    """Refuse infinity and NaN, which click's ranges let through."""
    if not math.isfinite(value):
        raise click.BadParameter(f"expected a finite number, got {value}")
    return value


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fastrnn")
def main() -> None:
    """Recurrent networks on the CPU."""


@main.command()
def info() -> None:
    """Show version, compiler, instruction sets, threads, and the measured FMA peak."""
    from fastrnn import runtime

    click.echo(runtime.info())


@main.command()
@click.option(
    "--cell",
    type=click.Choice(["rnn", "lstm", "gru"]),
    default="lstm",
    show_default=True,
    help="The recurrent layer.",
)
@click.option(
    "--hidden",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Hidden size.",
)
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of recurrent layers.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.0, min_open=True),
    callback=_finite,
    default=60.0,
    show_default=True,
    help="How long to train.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the initial weights and the sample.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1, max=1024),
    help="Number of threads; default: what the process may use.",
)
@click.option(
    "--text",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text in UTF-8; default: Python's reference in pydoc_data.topics.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results; default: a new temporary one.",
)
def demo(
    cell: str,
    hidden: int,
    layers: int,
    seconds: float,
    seed: int,
    threads: int | None,
    text: Path | None,
    out: Path | None,
) -> None:
    """Train a character-level language model on English text for about a minute.

    Shows the losses on the way, writes a sample, and leaves the best model (safetensors) and the
    loss curve (CSV, and PNG where matplotlib is there) in the output folder. Ctrl-C ends the
    training and keeps what there is.
    """
    from fastrnn import demo as language_model
    from fastrnn import runtime

    if threads is not None:
        runtime.set_num_threads(threads)
    try:
        language_model.run(
            cell=cell,
            hidden_size=hidden,
            num_layers=layers,
            seconds=seconds,
            seed=seed,
            text=language_model.read_text(text),
            out=out,
        )
    except (MemoryError, OSError, ValueError) as error:
        raise click.ClickException(str(error) or "out of memory") from error
