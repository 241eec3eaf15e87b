"""Keras's Tokenizer in plain loops: what it documents and what its users know of it."""


def words_of(text, filters, lower, split, char_level):
    if isinstance(text, list):
        return [word.lower() if lower else word for word in text if word]
    text = text.lower() if lower else text
    if char_level:
        return list(text)
    text = "".join(split if character in filters else character for character in text)
    return [word for word in text.split(split) if word]


def counts_of(all_words):
    """-> {word: how often}, {word: in how many texts}, both in the order of first appearance."""
    counts, docs = {}, {}
    for words in all_words:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
        for word in dict.fromkeys(words):
            docs[word] = docs.get(word, 0) + 1
    return counts, docs


def index_of(counts, oov_token):
    ordered = [] if oov_token is None else [oov_token]
    for number in sorted(set(counts.values()), reverse=True):
        ordered += [word for word, count in counts.items() if count == number]
    return {word: i for i, word in enumerate(ordered, 1)}


def sequence_of(words, index, num_words, oov_token):
    out = []
    for word in words:
        i = index.get(word)
        if i is not None and (num_words is None or i < num_words):
            out.append(i)
        elif oov_token is not None:
            out.append(index[oov_token])
    return out
