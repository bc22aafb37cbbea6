"""The columns of a table as they are understood: kind, missing values, examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_kit.data.describe.checks import is_id
from lepton_kit.data.describe.description import Column
from lepton_kit.data.describe.guess import WORDS_OF_A_TEXT

EXAMPLES = 3
LONGEST = 28
MOSTLY_MISSING = 0.5


def column_of(values: Any, name: str) -> Column:
    """A pandas Series as a `Column`.

    >>> import pandas as pd
    >>> column_of(pd.Series([1.5, None, 2.5, 2.5]), "size")
    Column(name='size', kind='number', missing=1, distinct=2, examples=('1.5', '2.5'))
    """
    known = values.dropna()
    if known.map(lambda value: isinstance(value, list | dict | np.ndarray)).any():
        known = known.map(str)  # several values in a cell
    distinct = known.unique().tolist()
    examples = tuple(_short(value) for value in distinct[:EXAMPLES])
    return Column(
        name, _kind(values, known, len(distinct), name), len(values) - len(known), len(distinct), examples
    )


def columns_of(frame: Any) -> tuple[Column, ...]:
    """Every column of a pandas frame."""
    return tuple(column_of(frame[name], str(name)) for name in frame.columns)


def findings(columns: tuple[Column, ...], rows: int, target: str | None) -> list[str]:
    """What looks wrong in the columns beside the target."""
    beside = [one for one in columns if one.name != target]
    sentences = []
    for kind, why in (
        ("constant", "the same value in every row teaches nothing"),
        ("empty", "no row has a value"),
        ("id", "different in every row, so that a model can only learn it by heart"),
    ):
        found = [repr(one.name) for one in beside if one.kind == kind]
        if found:
            sentences.append(f"{', '.join(found[:8])}{' …' if len(found) > 8 else ''}: {why}")
    sparse = [one for one in beside if one.kind != "empty" and one.missing > MOSTLY_MISSING * rows]
    if sparse:
        told = ", ".join(f"{one.name!r} ({100 * one.missing / rows:.0f} %)" for one in sparse[:8])
        sentences.append(f"more than half of the values are missing: {told}")
    return sentences


def _kind(values: Any, known: Any, distinct: int, name: str) -> str:
    import pandas as pd

    if not len(known):
        return "empty"
    if distinct == 1 and len(values) > 1:
        return "constant"
    if pd.api.types.is_bool_dtype(known) or _are_yes_and_no(known, distinct):
        return "yes/no"
    if is_id(known, name):
        return "id"
    if pd.api.types.is_numeric_dtype(known):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(known):
        return "date"
    texts = [str(value) for value in known.head(500)]
    if _share_of(texts, "number") > 0.9:
        return "number"
    if _share_of(texts, "date") > 0.9:
        return "date"
    if sum(len(text.split()) for text in texts) / len(texts) > WORDS_OF_A_TEXT and distinct > len(known) / 2:
        return "text"
    return "category"


def _are_yes_and_no(known: Any, distinct: int) -> bool:
    if distinct != 2:
        return False
    pair = {str(value).strip().lower() for value in known.unique()}
    return pair in ({"yes", "no"}, {"true", "false"}, {"y", "n"}, {"t", "f"})


def _share_of(texts: list[str], kind: str) -> float:
    import warnings

    import pandas as pd

    series = pd.Series(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns of dates that it reads one by one
        if kind == "number":
            plain = series.str.replace(r"[\s$€£%]", "", regex=True).str.replace(",", ".", regex=False)
            parsed = pd.to_numeric(plain, errors="coerce")
        else:
            parsed = pd.to_datetime(series, errors="coerce", format="mixed", utc=True)
    return float(parsed.notna().mean())


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
