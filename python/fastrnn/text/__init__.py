"""Text as sequences of ids: Keras's `Tokenizer` and `pad_sequences`."""

from fastrnn.text.padding import pad_sequences
from fastrnn.text.tokenizer import Tokenizer, tokenizer_from_json
from fastrnn.text.words import text_to_word_sequence

__all__ = ["Tokenizer", "pad_sequences", "text_to_word_sequence", "tokenizer_from_json"]
