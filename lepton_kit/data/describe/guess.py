"""What the columns of a table are for: which is to be predicted, which holds texts, which says the split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lepton_kit.data.split_names import split_of_cell

TARGETS = (
    "target", "label", "labels", "class", "classes", "y", "outcome", "response", "intent", "category", "sentiment",
    "diagnosis", "species",
)  # fmt: skip
"""Names that by convention are the column to predict, the more telling first."""
PLAUSIBLE = (
    "status", "result", "churn", "default", "survived", "fraud", "risk", "price", "quality", "rating", "score", "grade",
    "sales", "type",
)  # fmt: skip
"""Names that are worth a proposal, and no more."""
TEXTS = (
    "text",
    "sentence",
    "message",
    "review",
    "utterance",
    "comment",
    "content",
    "question",
    "body",
    "title",
)
SPLITS = ("split", "set", "fold", "subset", "partition")
WORDS_OF_A_TEXT = 3
"""A column whose values have more words than this in the mean, and seldom repeat, is prose."""
ROWS = 1000
MOST_CLASSES = 200


@dataclass(frozen=True)
class Guess:
    """What the columns are for. ``target`` is set only where a name says so; ``likely`` is only a proposal."""

    kind: str
    target: str | None = None
    likely: str | None = None
    text: str | None = None
    split: str | None = None


def guess(frame: Any) -> Guess:
    """What the columns of a frame are for, from their names and first rows.

    >>> import pandas as pd
    >>> guess(pd.DataFrame({"size": [70, 90], "rooms": [2, 3], "price": [200.0, 260.0]}))
    Guess(kind='table', target=None, likely='price', text=None, split=None)
    """
    head = frame.head(ROWS)
    names = [str(name) for name in frame.columns]
    split = next((name for name in names if _is_split(head[name], name)), None)
    rest = [name for name in names if name != split]
    target = named(rest, TARGETS)
    prose = [name for name in rest if name != target and _is_prose(head[name])]
    others = [name for name in rest if name not in prose]
    if len(prose) == 1 and len(others) <= 3:
        labels = [
            name for name in others if _is_label(frame[name])
        ]  # of all rows: they may be sorted by label
        likely = named(labels, PLAUSIBLE) or (labels[-1] if labels else None)
        return Guess("text", target, target or likely, prose[0], split)
    text = named(rest, TEXTS)
    if text is not None and len(rest) == 2:  # short texts, such as words to be told apart
        other = next(name for name in rest if name != text)
        return Guess("text", target, target or other, text, split)
    plausible = [name for name in others if name.strip().lower() in PLAUSIBLE and _varies(frame[name])]
    likely = named(plausible, PLAUSIBLE) or next(
        (name for name in reversed(others) if _varies(frame[name])), None
    )
    return Guess("table", target, target or likely, None, split)


def named(names: list[str], known: tuple[str, ...]) -> str | None:
    """The first of the known names that is there, whatever its case.

    >>> named(["ID", "Label"], ("target", "label"))
    'Label'
    """
    folded = {name.strip().lower(): name for name in reversed(names)}
    return next((folded[name] for name in known if name in folded), None)


def _is_split(values: Any, name: str) -> bool:
    if name.strip().lower() not in SPLITS:
        return False
    return all(split_of_cell(str(value)) for value in values.dropna().unique())


def _is_prose(values: Any) -> bool:
    texts = [value for value in values.dropna().tolist() if isinstance(value, str)]
    if len(texts) < max(1, 0.9 * len(values.dropna())):
        return False
    words = sum(len(text.split()) for text in texts) / len(texts)
    signs = sum(len(text) for text in texts) / len(texts)
    unspaced = words < 1.5 and signs > 12 and not any(text.isascii() for text in texts[:50])
    return (words > WORDS_OF_A_TEXT or unspaced) and len(set(texts)) > len(texts) / 2


def _varies(values: Any) -> bool:
    known = values.dropna()
    return len(known) > 0 and bool((known != known.iloc[0]).any())


def _is_label(values: Any) -> bool:
    known = values.dropna()
    return bool(2 <= known.nunique() <= min(MOST_CLASSES, max(2, len(known) // 2)))
