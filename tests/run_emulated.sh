#!/usr/bin/env bash
# Cross-compiles the core for ARM64 (NEON), installs it for a Debian Python of that architecture in an environment
# of its own, and runs the tests of what the core computes in it, under qemu's user emulation. Debian only; needs its
# packages qemu-user and g++-aarch64-linux-gnu, and CMake with Ninja or make.
# Usage: tests/run_emulated.sh [PYTEST ARGUMENT ...]; the argument "tests" runs them all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CXX=${CXX:-aarch64-linux-gnu-g++}
for tool in qemu-aarch64 "$CXX" cmake apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: see the first lines of $0" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# An apt that knows this machine's sources and keys, and of no package that is installed.
root=$work/root
mkdir -p "$root" "$work"/apt/{state/lists,cache/archives}/partial
apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root
    -o Dir::State="$work/apt/state" -o Dir::State::status=/dev/null -o Dir::Cache="$work/apt/cache")
"${apt[@]}" update
"${apt[@]}" -y --download-only --no-install-recommends install \
    python3-venv libpython3-dev libgomp1 libstdc++6 >/dev/null
for package in "$work"/apt/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done

# Python looks for its library, and for its environment, where the name that it was called by lies: this one,
# which can be called like any program, or an environment's link to it. The processor is a plain ARMv8.0, so that
# an instruction which the baseline lacks ends in SIGILL.
cat >"$root/usr/bin/python" <<SHELL
#!/bin/sh
exec qemu-aarch64 -cpu cortex-a72 -L "$root" -0 "\$0" "$root/usr/bin/python3" "\$@"
SHELL
chmod +x "$root/usr/bin/python"
"$root/usr/bin/python" -m venv "$work/venv"
# Compiling what is installed to bytecode takes longer, emulated, than the tests' imports.
env CMAKE_ARGS="-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64" \
    CXXFLAGS="-idirafter $root/usr/include" "$work/venv/bin/pip" install -q --no-compile '.[test]'
"$work/venv/bin/python" -m fastrnn info

if [ $# = 0 ]; then
    set -- tests/test_{activations,bitwise,core_survives,dropout,functional,gradients,layer_operations}.py \
        tests/test_{layering,layouts,lengths,loss_operations,onnx_cases,operations,optimizer_operations}.py \
        tests/test_{pytorch_behaviours,recurrent,runtime}.py
fi
# Not those that measure what an import costs, and those that need calls of a gigaflop by the dozen: an emulated
# thread does about one in ten seconds.
"$work/venv/bin/python" -m pytest \
    --deselect tests/test_cli.py::test_importing_costs_less_than_150_milliseconds_beyond_numpy \
    --deselect tests/test_bitwise.py::test_groups_of_rows_and_units_give_the_same_bits \
    --deselect tests/test_runtime.py::test_memory_does_not_grow_over_many_calls "$@"
