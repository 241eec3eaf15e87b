"""What a word is to Keras."""

from __future__ import annotations

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def text_to_word_sequence(
    text: str, filters: str | None = FILTERS, lower: bool = True, split: str = " "
) -> list[str]:
    """Return the words of a text: what lies between ``split`` and the characters of ``filters``."""
    return [word for word in separated(text, filters, lower, split).split(split) if word]


def separated(text: str, filters: str | None, lower: bool, split: str) -> str:
    """Return the text with ``split`` in the place of each character of ``filters``."""
    table: dict[str, str | int | None] = dict.fromkeys(filters or "", split)
    return (text.lower() if lower else text).translate(str.maketrans(table))
