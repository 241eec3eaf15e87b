"""``python -m fastrnn`` is the ``fastrnn`` command."""

from fastrnn.cli import main

main(prog_name="python -m fastrnn")
