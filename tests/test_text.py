"""Tokenizer and pad_sequences: Keras's words and ids."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.text import (
    Tokenizer,
    pad_sequences,
    text_to_word_sequence,
    tokenizer_from_json,
)
from fastrnn.text.words import FILTERS
from reference import text as reference

pytest.importorskip("tokenizers")

TEXTS = [
    "The cat sat on the mat.",
    "The dog, the DOG!",
    "",
    "...",
    "A cat -- a cat\tand\na dog's mat",
]

ALPHABET = "aAbB'é İßΣ\u2003中😀.,!-_ \t\n0"
texts = st.lists(st.text(ALPHABET, max_size=20), max_size=6)
token_lists = st.lists(
    st.lists(st.sampled_from(["a", "A", "b c", "", "."]), max_size=5), max_size=3
)
options = st.fixed_dictionaries(
    {},
    optional={
        "num_words": st.integers(1, 6),
        "filters": st.sampled_from(["", ".,", FILTERS]),
        "lower": st.booleans(),
        "split": st.sampled_from([" ", "a", "-", ".a"]),
        "char_level": st.booleans(),
        "oov_token": st.sampled_from(["<OOV>", "a"]),
    },
)


@given(texts, texts, token_lists, options)
def test_counts_and_ids_are_kerass(first, second, lists, arguments):
    tokenizer = Tokenizer(**arguments)
    known = [*first, *lists]
    tokenizer.fit_on_texts(known)
    tokenizer.fit_on_texts(second)
    settings = {"filters": FILTERS, "lower": True, "split": " ", "char_level": False}
    settings = {name: arguments.get(name, value) for name, value in settings.items()}
    words = [reference.words_of(text, **settings) for text in [*known, *second]]
    counts, docs = reference.counts_of(words)
    oov, num_words = arguments.get("oov_token"), arguments.get("num_words")
    index = reference.index_of(counts, oov)
    assert dict(tokenizer.word_counts) == counts
    assert list(tokenizer.word_counts) == list(counts)
    assert dict(tokenizer.word_docs) == docs
    assert tokenizer.word_index == index
    assert list(tokenizer.word_index) == list(index)
    assert tokenizer.index_word == {i: word for word, i in index.items()}
    assert tokenizer.index_docs == {index[word]: n for word, n in docs.items()}
    assert tokenizer.document_count == len(known) + len(second)
    others = ["a new Text, a", "B é 中", *second, *lists]
    expected = [
        reference.sequence_of(reference.words_of(t, **settings), index, num_words, oov)
        for t in others
    ]
    for each in (tokenizer, tokenizer.compact(), tokenizer_from_json(tokenizer.to_json())):
        assert each.texts_to_sequences(others) == expected
    assert tokenizer.texts_to_sequences(others[:2]) == expected[:2]


def test_the_most_frequent_words_come_first_and_of_equals_the_earlier():
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(TEXTS)
    assert list(tokenizer.word_index)[:5] == ["the", "cat", "a", "mat", "dog"]
    assert tokenizer.texts_to_sequences(["the dog's cat", "unknown"])[1] == []
    assert tokenizer.texts_to_sequences([""]) == [[]]


def test_num_words_keeps_one_word_less_and_an_oov_token_stands_for_the_rest():
    tokenizer = Tokenizer(num_words=3)
    tokenizer.fit_on_texts(TEXTS)
    assert tokenizer.texts_to_sequences(["the cat a mat"]) == [[1, 2]]
    assert len(tokenizer.word_index) > 5
    tokenizer = Tokenizer(num_words=3, oov_token="?")
    tokenizer.fit_on_texts(TEXTS)
    assert tokenizer.word_index["?"] == 1
    assert tokenizer.texts_to_sequences(["the cat zebra"]) == [[2, 1, 1]]
    assert tokenizer.sequences_to_texts([[2, 1, 7, 99]]) == ["the ? ? ?"]


def test_ids_become_words_again():
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(TEXTS)
    ids = tokenizer.texts_to_sequences(TEXTS)
    assert tokenizer.sequences_to_texts(ids)[0] == "the cat sat on the mat"
    assert tokenizer.sequences_to_texts([[1, 999]]) == ["the"]


@pytest.mark.parametrize("options", [{}, {"char_level": True}, {"analyzer": str.split}])
def test_texts_that_are_no_utf_8_have_words_as_others_do(options):
    texts = ["caf\udce9 good", "good \udc80 caf\udcea \ud800b"]
    tokenizer = Tokenizer(**options)
    tokenizer.fit_on_texts(texts)
    again = tokenizer_from_json(tokenizer.to_json())
    for each in (tokenizer, again):
        found = each.texts_to_sequences(texts)
        words = [list(text) if options.get("char_level") else text.split() for text in texts]
        assert found == [[tokenizer.word_index[word] for word in row] for row in words]
    assert tokenizer.texts_to_sequences([["good", "caf\udce9"]]) == [
        [tokenizer.word_index[word] for word in ("good", "caf\udce9") if word in again.word_index]
    ]


def test_words_may_come_from_a_function():
    tokenizer = Tokenizer(analyzer=lambda text: text.split("|"))
    tokenizer.fit_on_texts(["a b|c", "c|D"])
    assert tokenizer.word_index == {"c": 1, "a b": 2, "D": 3}
    assert tokenizer.texts_to_sequences(["D|a b|d"]) == [[3, 2]]


@pytest.mark.parametrize("mode", ["binary", "count", "freq", "tfidf"])
def test_a_matrix_of_no_words_but_the_0_is_zeros_as_in_keras(mode):
    tokenizer = Tokenizer(num_words=1)
    tokenizer.fit_on_texts(["a b", "b"])
    assert tokenizer.texts_to_matrix(["a b", "b", ""], mode).tolist() == [[0.0]] * 3


@pytest.mark.parametrize("mode", ["binary", "count", "freq", "tfidf"])
def test_a_matrix_has_a_row_for_each_text_and_a_column_for_each_word(mode):
    tokenizer = Tokenizer(num_words=5)
    tokenizer.fit_on_texts(TEXTS)
    matrix = tokenizer.texts_to_matrix(TEXTS, mode)
    assert matrix.shape == (5, 5)
    assert not matrix[:, 0].any()
    assert not matrix[2:4].any()
    # "the dog the dog": the (1) in 2 of 5 texts, twice; dog is word 5 and left out.
    value = {"binary": 1, "count": 2, "freq": 1, "tfidf": (1 + np.log(2)) * np.log(1 + 5 / 3)}
    assert matrix[1].tolist() == pytest.approx([0, value[mode], 0, 0, 0])


def test_a_tokenizer_is_json_as_kerass_is():
    tokenizer = Tokenizer(num_words=3, oov_token="?", lower=False)
    tokenizer.fit_on_texts(TEXTS)
    description = json.loads(tokenizer.to_json(indent=1))
    assert description["class_name"] == "Tokenizer"
    assert json.loads(description["config"]["word_index"]) == tokenizer.word_index
    again = tokenizer_from_json(tokenizer.to_json())
    assert again.to_json() == tokenizer.to_json()
    assert again.index_docs == tokenizer.index_docs
    for broken in ("", "[]", '{"config": {}}', tokenizer.to_json()[:-5]):
        with pytest.raises(ValueError, match=r"text: expected what Tokenizer\.to_json returns"):
            tokenizer_from_json(broken)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_a_tokenizer_can_be_copied_and_sent_to_another_process(again):
    tokenizer = Tokenizer(num_words=6, oov_token="?")
    tokenizer.fit_on_texts(TEXTS)
    ids = tokenizer.texts_to_sequences(TEXTS)
    copied = again(tokenizer)
    assert copied.to_json() == tokenizer.to_json()
    assert copied.texts_to_sequences(TEXTS) == ids
    assert tokenizer.texts_to_sequences(TEXTS) == ids


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Tokenizer(num_words=0), "num_words: expected 1"),
        (lambda: Tokenizer(split=""), "split: expected a string of at least one"),
        (lambda: Tokenizer().fit_on_texts("one text"), "texts: expected several texts"),
        (lambda: Tokenizer(filters=3), "filters: expected a string of characters or None"),
        (lambda: Tokenizer().fit_on_texts([1]), r"texts\[0\]: expected a string"),
        (lambda: Tokenizer().fit_on_texts([["a"], [1, 2]]), r"texts\[1\]: expected a string"),
        (lambda: Tokenizer().fit_on_texts(None), "texts: expected several texts, got None"),
        (lambda: Tokenizer().texts_to_sequences(["a", None]), r"texts\[1\]: expected a string"),
        (lambda: Tokenizer().texts_to_matrix(["a"]), "num_words: expected it to be given"),
        (lambda: Tokenizer(5).texts_to_matrix(["a"], "tfidf"), "mode: 'tfidf' needs texts"),
        (lambda: Tokenizer(5).texts_to_matrix(["a"], "most"), "mode: expected one of"),
    ],
)
def test_what_is_wrong_is_named(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_a_missing_package_names_its_pip_line(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ImportError, match=r"pip install 'fastrnn\[text\]'"):
        Tokenizer()


def test_a_text_becomes_its_words():
    assert text_to_word_sequence("Hello, world! It's...") == ["hello", "world", "it's"]
    assert text_to_word_sequence("a-B", filters="", lower=False, split="-") == ["a", "B"]
    tokenizer = Tokenizer(filters=None)
    tokenizer.fit_on_texts(["a, b!"])
    assert list(tokenizer_from_json(tokenizer.to_json()).word_index) == ["a,", "b!"]
    assert tokenizer.texts_to_sequences(["b! a, b"]) == [[2, 1]]


# ---- padding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 0, 0], [0, 1, 2], [3, 4, 5]]),
        ({"maxlen": 2}, [[0, 0], [1, 2], [4, 5]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 0], [1, 2], [3, 4]]),
        ({"maxlen": 4, "padding": "post", "value": 9}, [[9, 9, 9, 9], [1, 2, 9, 9], [3, 4, 5, 9]]),
    ],
)
def test_sequences_are_padded_and_cut_as_kerass(options, expected):
    padded = pad_sequences([[], [1, 2], np.array([3, 4, 5])], **options)
    assert padded.tolist() == expected
    assert padded.dtype == np.int32


def test_steps_may_be_rows_and_the_type_any():
    padded = pad_sequences([[[1, 2]], [[3, 4], [5, 6]]], dtype="float32", value=-1.0)
    assert padded.tolist() == [[[-1, -1], [1, 2]], [[3, 4], [5, 6]]]
    assert padded.dtype == np.float32
    assert pad_sequences([["a"], []], dtype=object, value="pad").tolist() == [["a"], ["pad"]]
    assert pad_sequences([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1, 2],), r"sequences\[0\]: expected a sequence, got 1"),
        ((["text"],), r"sequences\[0\]: expected a sequence"),
        (([[[1]], [[1, 2]]],), r"sequences\[1\]: expected steps of shape \(1,\)"),
        (([[1], [2**40]],), r"sequences\[1\]: expected steps of one shape, of what int32 holds"),
        (([[1], np.array([2**40])],), r"sequences\[1\]: .* int32 holds \(got 1099511627776 \.\."),
        (([[np.nan]],), r"sequences\[0\]: expected steps of one shape, of what int32 holds"),
        (([["a"]],), r"sequences\[0\]: expected steps of one shape, of what int32 holds"),
        (([[[1], [1, 2]]],), r"sequences\[0\]: expected steps of one shape"),
        (([[1]], None, "int32", "pre", "pre", 2**40), "value: expected what int32 holds"),
        (([[1]], 0), "maxlen: expected 1"),
        (([[1]], None, "int32", "both"), "padding: expected one of"),
        (([[1]], None, "int32", "pre", "both"), "truncating: expected one of"),
        (([[1]], None, "int32", "pre", "pre", "x"), "dtype: expected object"),
    ],
)
def test_what_cannot_be_padded_is_named(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        pad_sequences(*arguments)
