"""fastrnn without PyTorch, or with one that is too old for it."""

from subprocesses import output_of


def test_the_drop_in_without_torch_names_the_line_that_installs_it():
    code = """
        import sys
        sys.modules["torch"] = None  # as if it were not installed
        try:
            import fastrnn.torch
        except ImportError as error:
            print(error)
    """
    assert output_of(code) == "torch is needed here: pip install 'fastrnn[torch]'"


def test_a_torch_that_is_too_old_is_named():
    code = """
        import sys, types
        sys.modules["torch"] = types.ModuleType("torch")
        sys.modules["torch"].__version__ = "2.6.0+cpu"
        try:
            import fastrnn.torch
        except ImportError as error:
            print(error)
    """
    words = "torch: expected version 2.7 or later, got 2.6.0+cpu: pip install 'fastrnn[torch]'"
    assert output_of(code) == words
