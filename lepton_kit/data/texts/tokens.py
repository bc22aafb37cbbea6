"""Texts as tokens: words by Unicode's rules, characters as a reader sees them, or pieces of words; and tokens as ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

RESERVED = ("[padding]", "[unknown]")
"""The first two entries of every vocabulary: ids 0 and 1."""
TOKENIZERS = ("words", "characters", "subword")
SPACES_SHARE = 0.05
"""Texts are taken as characters by themselves where fewer of them than this share have a space."""
SPACES_SAMPLE = 10_000
MAX_LENGTH = 512
"""The longest length that `auto_length` picks: attention and recurrent layers grow slow beyond."""
FITS = 0.95
"""Share of the training texts that `auto_length` leaves whole."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a pair, which no file can hold."""

ASCII_WORDS = re.compile(
    r"[A-Za-z0-9_]+(?:(?:(?<=[A-Za-z])'(?=[A-Za-z])|(?<=[0-9])[.,](?=[0-9]))[A-Za-z0-9_]+)*|[!-/:-@\[-^`{-~]"
)
ASCII_CHARACTERS = re.compile(r"[ \t-\r]+|[!-~]")
"""What the rules below come to for plain English, ten times as fast."""

Split = Callable[[str], Iterable[str]]


@cache
def _patterns() -> tuple[Any, Any, Any]:
    """(words, characters, what is taken out). After the word boundaries of Unicode's annex 29, revision 43, but that a
    full stop between letters ends a word: people forget the space after it."""
    import regex  # the standard library's \w ends a word at a combining mark, so that Hindi falls into pieces

    # Scripts that put no space between words: a token is one character there, as in the annex.
    spaceless = r"[\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    inner = rf"(?:(?!{spaceless})[\p{{L}}\p{{N}}\p{{M}}_\u200c\u200d])"
    joint = r"(?:(?<=\p{L}\p{M}*)'(?=\p{L})|(?<=\p{N})[.,](?=\p{N}))"  # don't, 3.14
    visible = r"(?=[^\s\p{C}])\X"
    words = rf"(?={spaceless})\X|[\p{{L}}\p{{N}}_]{inner}*(?:{joint}{inner}+)*|{visible}"
    # Directions and soft hyphens say nothing; joiners and the tags of flags belong to what they stand in.
    silent = r"(?V1)[\p{Cf}--[\u200c\u200d\U000e0020-\U000e007f]]"
    return regex.compile(words), regex.compile(rf"\s+|{visible}"), regex.compile(silent)


def normal(text: str, lowercase: bool = True) -> str:
    """One way of writing for what reads the same: composed characters, one apostrophe, no invisible marks.

    >>> normal("Cafe\\u0301 d\\u2019or")
    "café d'or"
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).replace("\u2019", "'")
        text = SURROGATE.sub("\ufffd", _patterns()[2].sub("", text))
    return text.lower() if lowercase else text


def words(text: str, lowercase: bool = True) -> list[str]:
    """Lower-cased words, numbers and marks; one character a token in scripts that write no spaces.

    >>> words("Book a table, please. Don't wait 1.5 hours!")
    ['book', 'a', 'table', ',', 'please', '.', "don't", 'wait', '1.5', 'hours', '!']
    >>> words("我喜欢 Keras")
    ['我', '喜', '欢', 'keras']
    """
    text = normal(text, lowercase)
    return (ASCII_WORDS if text.isascii() else _patterns()[0]).findall(text)


def characters(text: str, lowercase: bool = True) -> list[str]:
    """Characters as a reader counts them: with their marks; a run of white space is one space.

    >>> characters("Añ  b")
    ['a', 'ñ', ' ', 'b']
    """
    return [" " if one.isspace() else one for one in _patterns()[1].findall(normal(text, lowercase).strip())]


def choose(texts: Sequence[str]) -> tuple[str, str]:
    """(tokenizer, why) for texts of which nothing is said: characters where hardly any text has a space.

    >>> choose(["book a table", "cancel it"])[0], choose(["ACGT", "GATTACA"])[0]
    ('words', 'characters')
    """
    sample = texts[:: max(1, len(texts) // SPACES_SAMPLE)]
    spaced = sum(any(one.isspace() for one in text.strip()) for text in sample)
    if spaced >= SPACES_SHARE * len(sample):
        return "words", "the texts have spaces"
    return "characters", f"{spaced} of {len(sample)} texts have a space"


def auto_length(lengths: Sequence[int]) -> int:
    """The number of tokens that 95 of 100 training texts fit into, at least 1 and at most 512.

    >>> auto_length([3] * 95 + [40] * 5), auto_length([9000])
    (3, 512)
    """
    if not len(lengths):
        return 1
    found = int(np.quantile(np.asarray(lengths), FITS, method="inverted_cdf"))
    return min(max(found, 1), MAX_LENGTH)


def ids(
    texts: Iterable[str], split: Split, index: dict[str, int], length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(token ids, int32 ``(n, length)``; whether a text was longer; how many of its tokens are unknown).

    0 pads at the end, 1 stands for a token that ``index`` lacks.

    >>> ids(["b a c", "a"], str.split, {"a": 2, "b": 3}, 2)[0].tolist()
    [[3, 2], [2, 0]]
    """
    rows, cut, unknown = [], [], []
    for text in texts:
        tokens = list(islice(split(text), length + 1))
        numbers = [index.get(token, 1) for token in tokens[:length]]
        rows.append(numbers + [0] * (length - len(numbers)))
        cut.append(len(tokens) > length)
        unknown.append(numbers.count(1))
    return np.array(rows, np.int32).reshape(-1, length), np.array(cut, bool), np.array(unknown, np.int64)
