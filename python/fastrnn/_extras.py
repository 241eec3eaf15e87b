"""Packages of the optional extras: imported when used; a missing one names its pip line."""

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, which the extra ``extra`` installs.

    Raises
    ------
    ImportError
        If it is not installed; the message names the ``pip install`` line.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ImportError(f"{package} is needed here: pip install 'fastrnn[{extra}]'") from error
