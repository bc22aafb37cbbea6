"""What looks wrong in data: pure functions from columns, labels and rows to a sentence, or to None."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DOMINANT = 0.9
"""From this share of one class on, a model that always says that class looks good by its accuracy."""
FEW = 10
"""A class with fewer samples than this teaches little, and its figures are chance."""
DETERMINED = 0.98
"""Share of what a guess leaves open that one column answers, from which on it is called leaking."""
BINS = 64
MOST_CLASSES_OF_NUMBERS = 20
ROWS = 20_000
"""So many rows are looked at for a leaking column."""
HASHED_BYTES = 512 * 2**20
"""So many bytes of samples are compared for duplicates; a larger set is compared in part, which is said."""
ID_NAME = re.compile(r"(^|[\s_.-])(id|uuid|guid|key|index|row|no|nr|number)$|^unnamed: \d+$|Id$|ID$")


def imbalance(counts: Mapping[str, int]) -> str | None:
    """One class that outweighs all others.

    >>> imbalance({"no": 95, "yes": 5})
    "95 % of the training samples are 'no': accuracy will mislead; balanced accuracy and AUC are shown by run.report()"
    >>> imbalance({"no": 60, "yes": 40})
    """
    total = sum(counts.values())
    if len(counts) < 2 or not total:
        return None
    name, most = max(counts.items(), key=lambda one: one[1])
    if most < DOMINANT * total:
        return None
    share = 100 * most / total
    told = f"{share:.0f}" if share < 99.5 else f"{share:.2f}"
    return f"{told} % of the training samples are {name!r}: accuracy will mislead; balanced accuracy and AUC are shown by run.report()"


def few_samples(counts: Mapping[str, int]) -> str | None:
    """Classes of which there are too few samples to learn or to measure.

    >>> few_samples({"cat": 50, "dog": 3})
    "fewer than 10 training samples of 'dog' (3): its figures will be chance"
    """
    few = {name: count for name, count in counts.items() if count < FEW}
    if not few:
        return None
    told = ", ".join(f"{name!r} ({count})" for name, count in list(few.items())[:5])
    more = f" and {len(few) - 5} more classes" if len(few) > 5 else ""
    return f"fewer than {FEW} training samples of {told}{more}: {'its' if len(few) == 1 else 'their'} figures will be chance"


def nearly_unique(counts: Mapping[str, int]) -> str | None:
    """A target of which nearly every sample is a class of its own.

    >>> nearly_unique({str(k): 1 for k in range(30)})
    "30 classes for 30 training samples: nearly every row is its own class; for numbers give task='regression'"
    """
    total = sum(counts.values())
    if len(counts) < 10 or len(counts) <= total / 2:
        return None
    return (
        f"{len(counts)} classes for {total} training samples: nearly every row is its own class; for numbers give "
        "task='regression'"
    )


def same_but_for_spelling(names: Sequence[str], classes: Sequence[str] | None = None) -> str | None:
    """Labels that differ in blanks, case or a point at the end alone; ``classes`` are the classes that they were read as, if known.

    >>> same_but_for_spelling(["Yes", " Yes", "yes", "No"])
    "labels that differ in blanks, case or a point at the end alone: ' Yes', 'Yes', 'yes'; they count as different classes"
    >>> same_but_for_spelling(["Yes", " Yes"], classes=["Yes"])
    "labels that differ in blanks, case or a point at the end alone: ' Yes', 'Yes'; they were read as one class"
    """
    alike: dict[str, set[str]] = {}
    for name in names:
        alike.setdefault(" ".join(str(name).split()).casefold().removesuffix("."), set()).add(str(name))
    found = [sorted(group) for group in alike.values() if len(group) > 1]
    if not found:
        return None
    told = "; ".join(", ".join(map(repr, group)) for group in found[:4])
    apart = classes is None or same_but_for_spelling(classes) is not None
    read = "they count as different classes" if apart else "they were read as one class"
    return f"labels that differ in blanks, case or a point at the end alone: {told}; {read}"


def determined(column: Any, target: Any) -> float:
    """How far one column alone decides the target, from 0 (no better than a guess) to 1.

    Both are pandas Series of the same rows. Learned on one half of the rows, drawn at random, and measured on the
    other: a column of ids, different in every row, scores 0. Numbers are cut into 64 equally filled bins. For a
    target of more than 20 different numbers it is the share of its variance that is explained, for others that of the
    errors that are avoided.

    >>> import pandas as pd
    >>> label = pd.Series(["a", "b"] * 50)
    >>> determined(label.map({"a": 1, "b": 2}), label)
    1.0
    """
    import pandas as pd

    known = target.notna()
    codes, target = _codes(column[known]), target[known]
    odd = np.random.default_rng(0).random(len(codes)) < 0.5
    learn, check = codes[~odd], codes[odd]
    if not len(learn) or not len(check):
        return 0.0
    if pd.api.types.is_numeric_dtype(target) and target.nunique() > MOST_CLASSES_OF_NUMBERS:
        y = target.to_numpy(np.float64)
        usual = y[~odd].mean()
        counts = np.bincount(learn, minlength=codes.max() + 1)
        sums = np.bincount(learn, y[~odd], minlength=codes.max() + 1)
        said = np.where(counts, sums / np.maximum(counts, 1), usual)[check]
        left, whole = np.sum((y[odd] - said) ** 2), np.sum((y[odd] - usual) ** 2)
    else:
        labels, names = pd.factorize(target.astype(str))
        most = np.full(codes.max() + 1, np.bincount(labels[~odd]).argmax())
        usual = most[0]
        pairs, counts = np.unique(learn.astype(np.int64) * len(names) + labels[~odd], return_counts=True)
        pairs = pairs[np.argsort(counts, kind="stable")]  # the commonest label of a value is written last
        most[pairs // len(names)] = pairs % len(names)
        left, whole = np.sum(most[check] != labels[odd]), np.sum(labels[odd] != usual)
    return float(max(0.0, 1 - left / whole)) if whole > 0 else 0.0


def _codes(column: Any) -> np.ndarray:
    """A number for each different value, or for each of 64 equally filled bins of numbers; missing is a value too."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and column.nunique() > BINS:
        values = column.to_numpy(np.float64, na_value=np.nan)
        edges = np.unique(np.nanquantile(values, np.linspace(0, 1, BINS + 1)))
        found = np.where(np.isnan(values), len(edges), np.searchsorted(edges[1:-1], values))
        return np.asarray(found)
    try:
        found, distinct = pd.factorize(column)
    except TypeError:  # lists
        found, distinct = pd.factorize(column.astype(str))
    return np.where(found < 0, len(distinct), found)


def leaks(frame: Any, target: str) -> str | None:
    """Columns of a pandas frame that nearly decide the target alone."""
    scores = {
        str(name): determined(frame[name], frame[target]) for name in frame.columns if str(name) != target
    }
    found = {name: score for name, score in scores.items() if score >= DETERMINED}
    if not found:
        return None
    told = ", ".join(f"{name!r} ({100 * score:.0f} %)" for name, score in list(found.items())[:5])
    return (
        f"{told} alone nearly decides {target!r}: if it is known only together with the target, it leaks; "
        "leave it out of the features"
    )


def is_id(values: Any, name: str) -> bool:
    """Whether a column numbers or names its rows: different in each, and named so or counting on by one.

    >>> import pandas as pd
    >>> is_id(pd.Series([11, 12, 13]), "customer"), is_id(pd.Series([3.5, 1.2, 9.1]), "size")
    (True, False)
    """
    import pandas as pd

    known = values.dropna()
    if len(known) < 3 or known.nunique() < len(known) or pd.api.types.is_float_dtype(known):
        return False
    if pd.api.types.is_integer_dtype(known) and bool((known.diff().dropna() == 1).all()):
        return True
    if pd.api.types.is_datetime64_any_dtype(known):
        return False
    return ID_NAME.search(str(name).strip()) is not None or _is_code(known)


def _is_code(known: Any) -> bool:
    """Texts without blanks that all hold digits, such as ``A-0012``."""
    head = known.head(200)
    return all(isinstance(v, str) and " " not in v and any(c.isdigit() for c in v) for v in head) and not any(
        _is_number_or_date(str(v)) for v in head[:5]
    )


def _is_number_or_date(text: str) -> bool:
    return re.fullmatch(r"[\d\s.,:/%$€£+T-]+Z?", text) is not None


def duplicates(train: np.ndarray, held: np.ndarray) -> str | None:
    """Validation samples that stand in the training split too.

    Both are arrays, rows first. Compared are at most 512 MiB of bytes of each.

    >>> rows = np.arange(20).reshape(10, 2)
    >>> duplicates(rows, rows[:2])
    '2 of 2 validation samples (100 %) also stand in the training split: the validation figures will flatter'
    """
    most = max(1, HASHED_BYTES // max(1, train[:1].nbytes))
    seen = {_digest(row) for row in train[:most]}
    compared = held[:most]
    twice = sum(_digest(row) in seen for row in compared)
    if not twice or twice < 0.005 * len(compared):
        return None
    part = f", of the first {most:,} compared" if most < len(train) or len(compared) < len(held) else ""
    return (
        f"{twice:,} of {len(compared):,} validation samples ({100 * twice / len(compared):.0f} %{part}) also stand in "
        "the training split: the validation figures will flatter"
    )


def _digest(row: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest()
