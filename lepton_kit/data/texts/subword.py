"""Pieces of words, by byte-pair encoding that is trained on the training texts and kept as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from lepton_kit.data.texts.tokens import RESERVED, Split, normal
from lepton_kit.errors import DataError

SMALLEST = len(RESERVED) + 256
"""Every byte is a piece, so that no text has a part that is unknown."""


def _library() -> Any:
    # It would start threads of its own, and says so after every fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers
    except ImportError:
        raise DataError(
            "tokenizer='subword' needs the package tokenizers: pip install lepton-kit[text]"
        ) from None
    return tokenizers


def trained(texts: Iterable[str], size: int, lowercase: bool) -> str:
    """The JSON of a tokenizer with at most ``size`` pieces. The same texts give the same pieces."""
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE(unk_token=RESERVED[1]))
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(RESERVED),
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((normal(text, lowercase) for text in texts), trainer)
    return str(tokenizer.to_str())


@lru_cache(maxsize=4)
def _of_json(model: str) -> Any:
    library = _library()
    try:
        tokenizer = library.Tokenizer.from_str(model)
    except Exception as failure:  # its errors are plain Exceptions
        raise DataError(f"preprocessing: the subword tokenizer can't be read ({failure})") from None
    tokenizer.encode_special_tokens = True  # a text that says "[padding]" is a text
    return tokenizer


def loaded(model: str, lowercase: bool) -> Split:
    """The function that cuts a text into the pieces of a trained tokenizer."""
    tokenizer = _of_json(model)
    return lambda text: tokenizer.encode(normal(text, lowercase), add_special_tokens=False).tokens


def vocabulary(model: str) -> tuple[str, ...]:
    """Its pieces by id."""
    found = _of_json(model).get_vocab()
    return tuple(sorted(found, key=found.__getitem__))
