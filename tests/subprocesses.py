"""For tests that need a process of their own: a fork, a signal, another environment."""

import os
import subprocess
import sys
import textwrap

# Seconds after which a process is taken to hang; under an emulator (run_emulated.sh) one that takes
# a second otherwise takes minutes.
HANGS = 600


def run_python(code, timeout=HANGS, **environment):
    """Run `code` in a new interpreter with environment variables added (None removes one); the
    finished process."""
    variables = {**os.environ, **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=variables, timeout=timeout, capture_output=True, text=True,
    )  # fmt: skip


def output_of(code, timeout=HANGS, **environment):
    """What `code` prints; it must end well."""
    process = run_python(code, timeout, **environment)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout.strip()
