"""Tables in CSV files: numbers standardised, categories one-hot, missing values flagged."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.dataset import Dataset, dataset_of, name_of
from lepton_kit.data.memory import check_classes, describe
from lepton_kit.data.prepared import FolderWriter, Split, write_folder
from lepton_kit.data.splitting import check_split, split_rows
from lepton_kit.errors import ConfigError, DataError

MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
MAX_CATEGORIES = 64
MAX_CLASSES_OF_NUMBERS = 20


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """(column names, rows of text). Raises `DataError` that names the line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = next(reader, None)
            if not header:
                raise DataError(f"{path.name}: no header line")
            if len(set(header)) != len(header):
                twice = next(name for name in header if header.count(name) > 1)
                raise DataError(f"{path.name}: the column {twice!r} appears twice")
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path.name}: line {reader.line_num} has {len(row)} fields; expected {len(header)}"
                    )
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise DataError(f"{path.name}: not a readable CSV file in UTF-8 ({failure})") from None
    if not rows:
        raise DataError(f"{path.name}: no rows")
    return header, rows


def column(header: list[str], rows: list[list[str]], name: str, file: str) -> list[str]:
    """The values of one column, stripped. Raises `DataError` that lists the columns."""
    if name not in header:
        raise DataError(f"{file}: no column {name!r}; it has {', '.join(header[:30])}")
    index = header.index(name)
    return [row[index].strip() for row in rows]


def table(
    path: str | Path,
    *,
    target: str,
    features: Sequence[str] | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """A CSV file with a header line; samples are float32 ``(features,)``.

    Numbers are standardised with the training rows' mean and deviation, texts become one column a category,
    and a column with missing values gets a second one that flags them. A target of text, or of at most 20
    different whole numbers, makes a classification, any other a regression.
    """
    check_split(validation_split, seed)
    if isinstance(features, str) or not (features is None or all(isinstance(name, str) for name in features)):
        raise ConfigError("data.features", given=features, rule="a list of column names")
    return dataset_of(
        "table",
        path,
        target=name_of("target", target),
        features=list(features) if features is not None else None,
        validation_split=validation_split,
        seed=seed,
    )


def build(path: Path, options: dict[str, Any], writer: FolderWriter) -> None:
    """Samples are float32 ``(features,)``; statistics and categories come from the training rows alone."""
    header, rows = read_csv(path)
    target = column(header, rows, options["target"], path.name)
    for row, value in enumerate(target):
        if value.lower() in MISSING:
            raise DataError(
                f"{path.name}: row {row + 1} has no value in the target column {options['target']!r}"
            )
    y, classes = _target(target)
    names = options["features"] or [name for name in header if name != options["target"]]
    if options["target"] in names:
        raise DataError(f"{path.name}: the target {options['target']!r} is among the features")
    if not names:
        raise DataError(f"{path.name}: no feature columns beside the target")
    train, held = split_rows(
        len(rows), options["validation_split"], options["seed"], labels=y if classes else None
    )
    blocks, features = [], []
    for name in names:
        block, added = _feature(name, column(header, rows, name, path.name), train, path.name)
        blocks += block
        features += added
    x = np.stack(blocks, axis=1).astype(np.float32)
    try:
        if classes:
            check_classes(y[train], classes)
        prepared = describe(
            Split(x[train], y[train]),
            Split(x[held], y[held]) if len(held) else None,
            classes,
            feature_names=tuple(features),
            value_range=(-1.0, 1.0),
        )
    except DataError as failure:
        raise DataError(f"{path.name}: target {options['target']!r}: {failure}") from None
    write_folder(prepared, writer.folder)


def _target(values: list[str]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    numbers = _numbers(values)
    distinct = sorted(set(values))
    if numbers is None:
        return np.array([distinct.index(v) for v in values], np.int32), tuple(distinct)
    whole = np.all(numbers == np.round(numbers))
    if whole and len(distinct) <= MAX_CLASSES_OF_NUMBERS:
        kinds = sorted({int(v) for v in numbers})
        return np.searchsorted(kinds, numbers).astype(np.int32), tuple(map(str, kinds))
    return numbers.astype(np.float32), None


def _numbers(values: list[str]) -> np.ndarray | None:
    try:
        return np.array([math.nan if v.lower() in MISSING else float(v) for v in values])
    except ValueError:
        return None


def _feature(
    name: str, values: list[str], train: np.ndarray, file: str
) -> tuple[list[np.ndarray], list[str]]:
    """The columns that one feature becomes, and their names."""
    missing = np.array([v.lower() in MISSING for v in values])
    blocks, names = [], []
    numbers = _numbers(values)
    if numbers is not None:
        infinite = np.flatnonzero(np.isinf(numbers))
        if len(infinite):
            raise DataError(
                f"{file}: column {name!r}, row {infinite[0] + 1} is {values[infinite[0]]}; expected a number"
            )
        known = numbers[train][~missing[train]]
        if not len(known):
            raise DataError(f"{file}: column {name!r} has no value in any training row")
        mean, spread = known.mean(), known.std()
        scaled = (numbers - mean) / (spread if spread > 0 else 1.0)
        blocks.append(np.where(missing, 0.0, scaled))
        names.append(name)
    else:
        kinds = sorted({values[i] for i in train if not missing[i]})
        if len(kinds) > MAX_CATEGORIES:
            raise DataError(
                f"{file}: column {name!r} has {len(kinds)} different texts; at most {MAX_CATEGORIES} can be "
                "categories: leave it out with features=[…]"
            )
        array = np.array(values)
        blocks += [(array == kind).astype(np.float64) for kind in kinds]
        names += [f"{name}={kind}" for kind in kinds]
    if missing.any():
        blocks.append(missing.astype(np.float64))
        names.append(f"{name} is missing")
    return blocks, names
