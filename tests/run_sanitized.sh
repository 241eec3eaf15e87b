#!/usr/bin/env bash
# Builds the core under AddressSanitizer and UndefinedBehaviorSanitizer (GCC) into an environment of its own
# and runs the tests in it. Usage: tests/run_sanitized.sh [PYTEST ARGUMENT ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CXX=${CXX:-g++}
libraries=()
# libstdc++ too: Python has none, and libasan looks for its __cxa_throw when the process starts.
for library in libasan.so libstdc++.so; do
    path=$("$CXX" -print-file-name="$library")
    [ -e "$path" ] || { echo "$CXX has no $library: set CXX to a GCC that has" >&2; exit 1; }
    libraries+=("$(realpath "$path")")
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q '.[test]' -C cmake.define.FASTRNN_SANITIZE=ON \
    -C cmake.build-type=RelWithDebInfo -C install.strip=false

# Leaks are not looked for: Python itself and NumPy keep memory until the end. Nor is growth measured:
# freed memory is held back for a while on purpose. What is too large to allocate is for the core to refuse.
env LD_PRELOAD="${libraries[*]}" ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    "$work/venv/bin/python" -m pytest \
    --deselect tests/test_runtime.py::test_memory_does_not_grow_over_many_calls \
    --deselect tests/test_memory_growth.py "$@"
