"""The house's arrows point one way: read off the #include and import lines."""

import ast
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CPP, PYTHON = ROOT / "cpp", ROOT / "python" / "fastrnn"

# ---- C++ -----------------------------------------------------------------------------------------

SOURCES = sorted(p for ending in ("*.h", "*.cpp") for p in CPP.rglob(ending))

# what a level's files may include besides their own level's; kernels/table.h is the face that the
# kernels show
MAY_INCLUDE = {
    "base": set(),
    "simd": {"base"},
    "kernels": {"base", "simd"},
    "dispatch": {"base", "kernels/table.h"},
    "parallel": {"base"},
    "ops": {"base", "kernels/table.h", "dispatch", "parallel"},
    "cuda": {"base", "ops"},
    "bindings": {"base", "kernels/table.h", "dispatch", "parallel", "ops", "cuda"},
}


def name_of(path):
    return path.relative_to(CPP).as_posix()


def includes(path):
    """(own files, system headers) that a source includes."""
    text = path.read_text()
    return re.findall(r'^\s*#\s*include\s*"(.+?)"', text, re.M), re.findall(
        r"^\s*#\s*include\s*<(.+?)>", text, re.M
    )


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_cpp_file_includes_only_what_lies_below_it(path):
    level = path.relative_to(CPP).parts[0]
    for included in includes(path)[0]:
        assert (CPP / included).is_file(), f"{included} is not named from cpp/"
        folder = included.split("/")[0]
        allowed = MAY_INCLUDE[level] | {level}
        assert folder in allowed or included in allowed, f"{level} may not include {included}"


def test_every_level_of_the_house_is_known_and_none_is_empty():
    levels = {path.relative_to(CPP).parts[0] for path in SOURCES}
    assert set(MAY_INCLUDE) - {"cuda"} <= levels <= set(MAY_INCLUDE)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_foreign_headers_stay_where_they_belong(path):
    level, system = path.relative_to(CPP).parts[0], includes(path)[1]
    if level in (
        "base",
        "dispatch",
        "ops",
    ):  # the standard library's headers have no ending and no folder
        known = {"dispatch": {"cpuid.h"}, "base": {"sys/mman.h"}}.get(level, set())
        assert all(re.fullmatch(r"[a-z_0-9]+", header) for header in set(system) - known)
    if level != "bindings":
        assert not any(header.startswith(("pybind11", "Python")) for header in system)
    if level != "parallel":
        assert not re.search(r"omp\.h|#\s*pragma\s+omp|\bomp_\w+\s*\(|_OPENMP", path.read_text())
    if level not in ("simd", "parallel"):
        assert not any(header.endswith(("intrin.h", "neon.h")) for header in system)


COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
FLAGS = {"x86_64": ["-mavx2", "-mfma"]}.get(platform.machine(), [])


@pytest.mark.skipif(not COMPILER or not shutil.which("nm"), reason="no compiler or no nm")
def test_no_kernel_object_hands_out_code_that_the_linker_could_share(tmp_path):
    """An inline function compiled for AVX-512 and kept for everybody is an illegal instruction on
    an older machine. Without optimisation nothing is inlined by chance, so every such function is
    there to be seen."""
    made = tmp_path / "kernels.o"
    source = [str(CPP / "kernels" / "kernels.cpp"), "-DFASTRNN_ISA=here", f"-I{CPP}"]
    options = ["-std=c++17", "-O0", "-fPIC", "-fno-exceptions", *FLAGS, "-c", "-o", str(made)]
    subprocess.run([COMPILER, *source, *options], check=True)
    lines = subprocess.run(
        ["nm", "-C", made], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert not [line for line in lines if re.match(r"^[0-9a-f ]*\s[WVu]\s", line)]
    strong = [line for line in lines if re.match(r"^[0-9a-f]+\s+[TDBR]\s", line)]
    assert len(strong) == 1
    assert "kernels_here" in strong[0]


# ---- Python --------------------------------------------------------------------------------------

MODULES = sorted(PYTHON.rglob("*.py"))

# From the lowest to the highest; a module imports from its own level or lower ones. Those not
# listed are on top.
LEVELS = [
    {"_typing", "_extras", "_names", "_registry"},
    {"_check", "_load", "_threads"},
    {"_rows", "runtime", "_stack", "_memory", "_segments", "_calls", "functional", "recurrent"},
    {"ops"},
    {"random", "initializers", "layers", "losses", "metrics", "optimizers"},
]  # fmt: skip


def level_of(module):
    return next((i for i, level in enumerate(LEVELS) if module in level), len(LEVELS))


def imports(path):
    """The dotted names that a module imports, wherever in it; `from a import b` gives a.b."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def own_imports(path):
    """The modules of fastrnn, at its first level, that a module imports; a name of the package
    itself as it is."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("fastrnn.")}


def module_of(path):
    return path.relative_to(PYTHON).parts[0].removesuffix(".py")


def python_name(path):
    return path.relative_to(PYTHON).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=python_name)
def test_a_python_module_imports_only_what_lies_below_it(path):
    module, known = module_of(path), {module_of(p) for p in MODULES}
    if module == "__init__":
        return
    for imported in own_imports(path) & known:
        assert level_of(imported) <= level_of(module), f"{module} may not import {imported}"


# above functional: ops, which the layers stand on, the drop-in, and who asks for the version
MAY_CALL_THE_CORE = {"ops", "torch", "__init__", "cli"}


@pytest.mark.parametrize("path", MODULES, ids=python_name)
def test_only_the_loader_imports_the_core_and_only_the_drop_in_imports_torch(path):
    names, module = imports(path), module_of(path)
    assert module == "_load" or not any(name.startswith("fastrnn._core") for name in names)
    assert module == "torch" or not any(name.split(".")[0] == "torch" for name in names)
    if level_of(module) > level_of("functional") and module not in MAY_CALL_THE_CORE:
        assert not any(name.startswith("fastrnn._load") for name in names)


ARITHMETIC = {
    "add", "subtract", "multiply", "divide", "dot", "matmul", "inner", "outer", "einsum",
    "tensordot", "sum", "mean", "exp", "expm1", "log", "log1p", "tanh", "sqrt", "square", "power",
    "maximum", "minimum", "where", "cumsum", }  # fmt: skip


@pytest.mark.parametrize("path", sorted((PYTHON / "layers").glob("*.py")), ids=lambda p: p.name)
def test_layers_leave_the_arithmetic_to_ops(path):
    """So that a second back end is a second module of the shape of ops."""
    assert not own_imports(path) & {"functional", "recurrent", "_load", "_core"}
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "np"
        ):
            assert node.attr not in ARITHMETIC, f"line {node.lineno}: np.{node.attr}"
        assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)), (
            f"line {node.lineno}: @"
        )
