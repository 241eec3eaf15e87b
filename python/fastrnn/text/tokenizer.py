"""Keras's Tokenizer over the `tokenizers` package."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from fastrnn import _check, _extras
from fastrnn._typing import Array
from fastrnn.text.words import FILTERS, separated, text_to_word_sequence

Text: TypeAlias = str | Sequence[str]
"""A text, or its words; empty ones are left out."""

# What the package's model calls a word it does not know; no word of a text is called so.
_UNKNOWN = "\0unknown"
# What is no UTF-8 is a lone surrogate in Python, and the package takes none: it gets characters for
# private use instead, of which there are as many.
_SURROGATES = {code: code - 0xD800 + 0x10F800 for code in range(0xD800, 0xE000)}
_TEXTS_AT_ONCE = 2000  # each word of them takes some 100 bytes in the package


class Tokenizer:
    """Turn texts into ids of their words, as Keras's Tokenizer does: its arguments and its ids.

    The most frequent word is 1, of equally frequent ones that which came first; 0 is left for
    padding.

    Parameters
    ----------
    num_words : int, optional
        Keep the ``num_words - 1`` most frequent words only.
    filters : str or None
        Characters that are no part of a word.
    lower : bool
        Whether texts are put in lower case.
    split : str
        What stands between words.
    char_level : bool
        Take each character for a word; ``filters`` and ``split`` are not used then.
    oov_token : str, optional
        A word, with id 1, that stands for all that are not known; without it they are left out.
    analyzer : callable, optional
        A function that gives a text's words, instead of ``filters``, ``lower`` and ``split``.

    Attributes
    ----------
    word_counts : Counter of str to int
        How often each word was seen, in the order in which they were seen first.
    word_docs : Counter of str to int
        In how many texts each was seen.
    word_index, index_word : dict
        From words to ids and back: of all words, also of those that ``num_words`` leaves out.
    index_docs : dict of int to int
        `word_docs` by id.
    document_count : int
        How many texts were seen.

    Notes
    -----
    Ids are looked up by the `tokenizers` package (``pip install 'fastrnn[text]'``), on all
    processors.

    Raises
    ------
    ImportError
        Without `tokenizers`; the message names the ``pip install`` line.
    """

    def __init__(
        self,
        num_words: int | None = None,
        filters: str | None = FILTERS,
        lower: bool = True,
        split: str = " ",
        char_level: bool = False,
        oov_token: str | None = None,
        analyzer: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        self.num_words = None if num_words is None else _check.positive_int("num_words", num_words)
        if not isinstance(split, str) or not split:
            raise ValueError(f"split: expected a string of at least one character, got {split!r}")
        if filters is not None and not isinstance(filters, str):
            raise TypeError(f"filters: expected a string of characters or None, got {filters!r}")
        self.filters = filters
        self.lower = _check.flag("lower", lower)
        self.split = split
        self.char_level = _check.flag("char_level", char_level)
        self.oov_token = oov_token
        self.analyzer = analyzer
        self.word_counts: Counter[str] = Counter()
        self.word_docs: Counter[str] = Counter()
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}
        self.index_docs: dict[int, int] = {}
        self.document_count = 0
        _extras.require("tokenizers", "text")
        self._lookup: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled or copied: not the package's tokenizer, which is made anew."""
        return {**self.__dict__, "_lookup": None}

    # ---- learning the words ----------------------------------------------------------------------

    def fit_on_texts(self, texts: Iterable[Text]) -> None:
        """Count the words of ``texts``, besides those of earlier calls, and number them.

        Raises
        ------
        TypeError
            If ``texts`` is one string, or something in it is no text.
        """
        for text in _as_texts(texts):
            words = self._words(text)
            self.word_counts.update(words)
            self.word_docs.update(dict.fromkeys(words).keys())
            self.document_count += 1
        self._number()

    def fit_on_sequences(self, sequences: Iterable[Iterable[int]]) -> None:
        """Count in how many sequences of ids each is, for "tfidf" of `sequences_to_matrix`."""
        for sequence in sequences:
            self.document_count += 1
            for i in set(sequence):
                self.index_docs[i] = self.index_docs.get(i, 0) + 1

    def _number(self) -> None:
        # Sorting is stable, also in reverse: equally frequent words stay in their order.
        words = sorted(self.word_counts, key=self.word_counts.__getitem__, reverse=True)
        if self.oov_token is not None:
            words.insert(0, self.oov_token)
        self.word_index = {word: i for i, word in enumerate(words, 1)}
        self.index_word = {i: word for word, i in self.word_index.items()}
        self.index_docs = {self.word_index[word]: n for word, n in self.word_docs.items()}
        self._lookup = None

    # ---- texts to ids and back -------------------------------------------------------------------

    def texts_to_sequences(self, texts: Iterable[Text]) -> list[list[int]]:
        """Return the ids of each text's words; unknown ones are left out, or the oov token's id."""
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[Text]) -> Iterator[list[int]]:
        """Yield what `texts_to_sequences` returns, text by text."""
        given = _as_texts(texts)
        for start in range(0, len(given), _TEXTS_AT_ONCE):
            for encoding in self._encoded(given[start : start + _TEXTS_AT_ONCE]):
                yield [i for i in encoding.ids if i]

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """Return the words of each sequence of ids, with spaces between them."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Iterable[int]]) -> Iterator[str]:
        """Yield what `sequences_to_texts` returns, sequence by sequence."""
        for sequence in sequences:
            found = (self._word(int(i)) for i in sequence)
            yield " ".join(word for word in found if word is not None)

    def _word(self, i: int) -> str | None:
        word = self.index_word.get(i)
        known = word is not None and not (self.num_words and i >= self.num_words)
        return word if known else self.oov_token

    def texts_to_matrix(
        self, texts: Iterable[Text], mode: Literal["binary", "count", "tfidf", "freq"] = "binary"
    ) -> Array:
        """Return a row of numbers for each text: see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(
        self,
        sequences: Sequence[Sequence[int]],
        mode: Literal["binary", "count", "tfidf", "freq"] = "binary",
    ) -> Array:
        """Return [N, num_words] float64: what each word of the vocabulary is to each sequence.

        Whether it is in it, how often ("count"), as a fraction of its words ("freq"), or (1 + log
        count) * log(1 + texts / (1 + texts with the word)) ("tfidf").
        """
        _check.choice("mode", mode, ("binary", "count", "tfidf", "freq"))
        if not self.num_words and not self.word_index:
            raise ValueError("num_words: expected it to be given, or words: call fit_on_texts()")
        columns = self.num_words or len(self.word_index) + 1
        if mode == "tfidf" and not self.document_count:
            raise ValueError("mode: 'tfidf' needs texts: call fit_on_texts() first")
        docs = np.array([self.index_docs.get(i, 0) for i in range(columns)])
        matrix = np.zeros((len(sequences), columns))
        for row, sequence in zip(matrix, sequences, strict=True):
            ids = np.asarray(sequence, np.int64)
            ids, counts = np.unique(ids[ids < columns], return_counts=True)
            if mode == "count":
                row[ids] = counts
            elif mode == "freq":
                row[ids] = counts / max(1, len(sequence))
            elif mode == "binary":
                row[ids] = 1
            else:
                rarity = np.log(1 + self.document_count / (1 + docs[ids]))
                row[ids] = (1 + np.log(counts)) * rarity
        return matrix

    # ---- files -----------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Return arguments and counts, as Keras's does: the counts as JSON."""
        return {
            "num_words": self.num_words,
            "filters": self.filters,
            "lower": self.lower,
            "split": self.split,
            "char_level": self.char_level,
            "oov_token": self.oov_token,
            "document_count": self.document_count,
            "word_counts": json.dumps(self.word_counts),
            "word_docs": json.dumps(self.word_docs),
            "index_docs": json.dumps(self.index_docs),
            "index_word": json.dumps(self.index_word),
            "word_index": json.dumps(self.word_index),
        }

    def to_json(self, **options: Any) -> str:
        """Return all of it as JSON, for `tokenizer_from_json`, this one's or Keras's.

        ``options`` are those of `json.dumps`. An ``analyzer`` is left out.
        """
        description = {"class_name": type(self).__name__, "config": self.get_config()}
        return json.dumps(description, **options)

    def compact(self) -> Tokenizer:
        """Return one that gives texts the same ids and knows no other words.

        To be kept with a model: of 25,000 film reviews and ``num_words=10000`` a ninth remains.
        """
        small = Tokenizer(
            *(self.num_words, self.filters, self.lower, self.split, self.char_level),
            *(self.oov_token, self.analyzer),
        )
        small.document_count = self.document_count
        limit = self.num_words or sys.maxsize
        small.word_index = {
            word: i for word, i in self.word_index.items() if i < limit or word == self.oov_token
        }
        small.index_word = {i: word for word, i in small.word_index.items()}
        for word in self.word_counts:
            if word in small.word_index:
                small.word_counts[word] = self.word_counts[word]
                small.word_docs[word] = self.word_docs[word]
                small.index_docs[small.word_index[word]] = self.word_docs[word]
        return small

    # ---- words and the package -------------------------------------------------------------------

    def _words(self, text: Text) -> list[str]:
        if not isinstance(text, str):
            return [word.lower() if self.lower else word for word in text if word]
        if self.char_level:
            return list(text.lower() if self.lower else text)
        if self.analyzer is not None:
            return [word for word in self.analyzer(text) if word]
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    def _encoded(self, texts: Sequence[Text]) -> Any:
        """Return the package's encodings; unknown words have the id 0 or the oov token's."""
        plain = not self.char_level and self.analyzer is None
        if plain and all(isinstance(text, str) for text in texts):
            # It splits faster than we do, on several processors.
            arguments = (self.filters, self.lower, self.split)
            prepared = [_encodable(separated(str(text), *arguments)) for text in texts]
            return self._model(split=True).encode_batch_fast(prepared)
        words = [[_encodable(word) for word in self._words(text)] for text in texts]
        return self._model(split=False).encode_batch_fast(words, is_pretokenized=True)

    def _model(self, split: bool) -> Any:
        """Return the package's tokenizer with our words and ids."""
        if self._lookup is None or self._lookup[0] != split:
            limit = self.num_words or sys.maxsize
            ids = {_encodable(word): i for word, i in self.word_index.items() if i < limit}
            unknown = 0 if self.oov_token is None else self.word_index.get(self.oov_token, 0)
            package = _extras.require("tokenizers", "text")
            model = package.models.WordLevel({**ids, _UNKNOWN: unknown}, unk_token=_UNKNOWN)
            made = package.Tokenizer(model)
            separator = _encodable(self.split)
            if split and len(separator) == 1:
                made.pre_tokenizer = package.pre_tokenizers.CharDelimiterSplit(separator)
            elif split:
                made.pre_tokenizer = package.pre_tokenizers.Split(separator, behavior="removed")
            self._lookup = split, made
        return self._lookup[1]


def tokenizer_from_json(text: str) -> Tokenizer:
    """Make the `Tokenizer` that `Tokenizer.to_json`, this one's or Keras's, described.

    Raises
    ------
    ValueError
        If it is something else.
    """
    try:
        config = dict(json.loads(text)["config"])
        counts = {
            name: json.loads(config.pop(name))
            for name in ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
        }
        document_count = int(config.pop("document_count"))
        tokenizer = Tokenizer(**config)
        tokenizer.document_count = document_count
        tokenizer.word_counts = Counter(counts["word_counts"])
        tokenizer.word_docs = Counter(counts["word_docs"])
        tokenizer.word_index = counts["word_index"]
        # JSON's keys are strings.
        tokenizer.index_docs = {int(i): n for i, n in counts["index_docs"].items()}
        tokenizer.index_word = {int(i): word for i, word in counts["index_word"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"text: expected what Tokenizer.to_json returns ({error!r})") from None
    return tokenizer


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.translate(_SURROGATES)
    return text


def _as_texts(texts: Iterable[Text]) -> list[Text]:
    if isinstance(texts, str):
        raise TypeError("texts: expected several texts, got one string; put it into a list")
    if not isinstance(texts, Iterable):
        raise TypeError(f"texts: expected several texts, got {texts!r}")
    given = list(texts)
    for i, text in enumerate(given):
        words = text if isinstance(text, list | tuple) else [text]
        if not all(isinstance(word, str) for word in words):
            raise TypeError(f"texts[{i}]: expected a string or a list of words, got {text!r}")
    return given
