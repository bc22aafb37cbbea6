"""What can be picked for the length of a sample: the tokenizer and tokens of texts, the rows of a window."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.texts.preprocessing import splitter
from lepton_kit.data.texts.tokens import MAX_LENGTH, TOKENIZERS, auto_length, choose

Choices = dict[str, tuple[Any, ...]]
Meanings = dict[str, dict[Any, str]]

LOOKED_AT = 2000
"""Texts whose tokens are counted, evenly picked of all."""
SHARES = (0.5, 0.9, 0.99, 1.0)
"""Shares of the texts for which the length that they fit into is offered."""
ROWS = (5, 10, 20, 50, 100, 200, 500, 1000)
"""Lengths of windows that are offered where the shortest recording has as many rows."""
TOO_SHORT = re.compile(r"has (\d+) rows; a window needs")
"""How the reader of recordings says that a window is longer than one of them."""


def of_texts(
    texts: Sequence[str], options: Mapping[str, Any], prepared: PreparedData | None
) -> tuple[Choices, Meanings]:
    """(values to pick from, what they mean) for ``tokenizer`` and ``sequence_length`` of `lk.data.text`.

    ``texts`` are those that were looked at; without any, lengths come from ``prepared``, whose samples are cut at theirs.

    >>> of_texts(["book a table", "no"] * 50, {}, None)[1]["sequence_length"]
    {'auto': 'auto: 3 words', 1: '1 words: 50 % of the texts whole', 3: '3 words: 100 % of the texts whole'}
    """
    how: Any = prepared.preprocessing if prepared is not None else None
    given = options.get("tokenizer", "auto")
    chosen = given if given != "auto" else choose(texts)[0] if texts else getattr(how, "tokenizer", "words")
    offered = [one for one in TOKENIZERS if one != "subword" or importlib.util.find_spec("tokenizers")]
    meanings: Meanings = {
        "tokenizer": {"auto": f"auto: {choose(texts)[0] if texts else chosen}", "subword": "pieces of words"}
    }
    units = "pieces" if chosen == "subword" else chosen
    counts = _counts(texts, chosen, options, how)
    if counts is None and prepared is not None:
        counts = (np.asarray(prepared.train.x) > 0).sum(1)
    if counts is None or not len(counts):
        return {"tokenizer": ("auto", *offered), "sequence_length": ("auto",)}, meanings
    lengths = {
        int(np.clip(np.quantile(counts, share, method="inverted_cdf"), 1, MAX_LENGTH)) for share in SHARES
    }
    found = options.get("sequence_length", "auto") == "auto" and how is not None
    usual = how.sequence_length if found else auto_length(counts.tolist())  # of the training texts; of all
    meanings["sequence_length"] = {"auto": f"auto: {usual} {units}"} | {
        length: f"{length} {units}: {np.mean(counts <= length):.0%} of the texts whole".replace("%", " %")
        for length in sorted(lengths)
    }
    return {"tokenizer": ("auto", *offered), "sequence_length": ("auto", *sorted(lengths))}, meanings


def _counts(texts: Sequence[str], tokenizer: str, options: Mapping[str, Any], how: Any) -> np.ndarray | None:
    """Tokens of each text; None where there is no text to count in, or no tokenizer yet."""
    if not texts or (tokenizer == "subword" and how is None):
        return None
    split = splitter(tokenizer, options.get("lowercase", True), getattr(how, "subword", None))
    return np.array([len(list(split(one))) for one in texts[:: max(1, -(-len(texts) // LOOKED_AT))]])


def of_windows(
    options: Mapping[str, Any], prepared: PreparedData | None, failure: BaseException | None
) -> tuple[Choices, Meanings]:
    """(values to pick from, what they mean) for ``length`` of `lk.data.windows`: no longer than the shortest recording.

    Where recordings could not be cut into windows, the shortest is the one that ``failure`` names.
    """
    told = TOO_SHORT.search(str(failure or ""))
    shortest = int(told[1]) if told else prepared.details.get("shortest") if prepared is not None else None
    how: Any = prepared.preprocessing if prepared is not None else None
    lengths = {one for one in ROWS if shortest is None or one <= shortest}
    if shortest is not None and shortest < ROWS[-1]:
        lengths.add(int(shortest))
    if prepared is not None:
        lengths.add(how.length)
    meanings = {
        one: f"{one} rows"
        + (", the shortest recording" if one == shortest else "")
        + (f" ({one * how.step:g} by {how.time!r})" if how is not None and how.step and how.time else "")
        for one in sorted(lengths)
    }
    return {"length": tuple(sorted(lengths))}, {"length": meanings}
