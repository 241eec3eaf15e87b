"""fastrnn without PyTorch."""

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
