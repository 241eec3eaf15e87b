"""Classes by the names that files have for them."""

from __future__ import annotations

from typing import TypeVar

Kind = TypeVar("Kind")


def name_in_files(cls: type) -> str:
    """Return a class's name: alone of fastrnn's, with its module of others, as "program.Scale"."""
    if cls.__module__.partition(".")[0] == "fastrnn":
        return cls.__name__
    return f"{cls.__module__}.{cls.__qualname__}"


class Registry(dict[str, type[Kind]]):
    """Classes by `name_in_files`; one of one's own cannot take the place of one of fastrnn's.

    The module of one's own may be another by now (that of a program is "__main__"), and earlier
    versions wrote none: a name that is not there is looked for without it.

    Parameters
    ----------
    kind : str
        What the classes are, for the message.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def add(self, cls: type[Kind]) -> None:
        """Take a class in."""
        self[name_in_files(cls)] = cls

    def __missing__(self, name: str) -> type[Kind]:
        bare = _bare(name)
        found = [known for known in self if "." in known and _bare(known) == bare]
        if len(found) == 1:
            return self[found[0]]
        several = f", only {' and '.join(sorted(found))}" if found else ""
        raise ValueError(
            f"{self._kind} class {name!r} is not known{several}: define or import it before load"
        )


def _bare(name: str) -> str:
    return name.rpartition(".")[2]
