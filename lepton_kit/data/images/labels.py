"""Labels of images from a table (CSV or JSON lines): which column names the image, what the others say, and which task that is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_kit.data.images.layout import IGNORE
from lepton_kit.data.split_names import TEST, TRAIN, VALIDATION, split_of
from lepton_kit.data.tables.learn import Seen, Wishes, column_of, hint_of
from lepton_kit.data.tables.values import filled
from lepton_kit.data.zips import clean_name
from lepton_kit.errors import DataError

LABEL_NAMES = (
    *("label", "labels", "class", "classes", "class_name", "classname", "category", "target", "y", "tags"),
    *("diagnosis", "finding_labels", "breed", "species"),
)
SPLIT_NAMES = ("split", "set", "subset", "partition", "data_set", "dataset")
SEPARATORS = "|;"
LABEL_FILES = (".csv", ".tsv", ".jsonl")
BOXES = {
    *("bbox", "bboxes", "box", "boxes", "bounding_box", "x", "y", "w", "h", "width", "height"),
    *("xmin", "ymin", "xmax", "ymax", "x1", "y1", "x2", "y2", "x_min", "y_min", "x_max", "y_max"),
    *("left", "top", "right", "bottom", "x_center", "y_center", "cx", "cy"),
}
"""Names of columns that together say where something lies in an image, and no label of it."""
MAX_CLASSES_OF_NUMBERS = 50
"""A column of more different whole numbers is a number to predict, unless task= says otherwise."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Rows of images with a label: ``y`` int32 ``(n,)``, float32 multi-hot ``(n, classes)`` or float64 ``(n,)``."""

    task: str
    images: Sequence[str]
    y: np.ndarray
    splits: Sequence[str | None]
    class_names: Sequence[str] | None = None
    name: str | None = None
    notes: Sequence[str] = field(default=())


def read_rows(content: bytes, where: str) -> Any:
    """A frame of texts, headers stripped. Raises `DataError` that names the file."""
    import pandas as pd

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    if where.lower().endswith(".jsonl"):
        return _json_lines(text, where)
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    try:
        frame = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True
        )
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as failure:
        raise DataError(f"{where}: not a readable table of labels ({str(failure).strip()})") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    header = [name.strip() for name in next(csv.reader([head.strip()], delimiter=separator))]
    if len(set(header)) != len(header):
        raise DataError(f"{where}: two columns have the same name; columns: {', '.join(frame.columns)}")
    if not len(frame):
        raise DataError(f"{where}: no rows")
    frame = frame.apply(lambda column: column.str.strip())
    frame.attrs["separator"] = separator
    return frame


def _json_lines(text: str, where: str) -> Any:
    """A frame of texts; fields that hold more than one value, such as boxes, are left as their JSON."""
    import pandas as pd

    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as failure:
            raise DataError(f"{where}: line {number} is no JSON ({failure})") from None
        if row is not None and not isinstance(row, dict):
            raise DataError(f"{where}: line {number} is no object, such as {{'file_name': …, 'label': …}}")
        rows += [] if row is None else [{str(key): _cell(value) for key, value in row.items()}]
    if not rows:
        raise DataError(f"{where}: no rows")
    return pd.DataFrame(rows, dtype=object).fillna("")


def _cell(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else str(value).strip()


def labels_of(frame: Any, names: Sequence[str], options: dict[str, Any], where: str) -> Labels:
    """The label of every row, its image found among ``names``. Raises `DataError` that names the row or column.

    ``options``: image_column, label_column, split_column, label_separator, task, on_error; see `image_folder`.
    """
    notes: list[str] = []
    column, found = _images(frame, names, options["image_column"], where)
    split_column = _split_column(frame, options["split_column"], where)
    label_columns = _label_columns(frame, options["label_column"], {column, split_column}, notes, where)
    separator = frame.attrs.get("separator")
    rows = [row for row, name in enumerate(found) if name is not None]
    missing = [str(frame[column].iloc[row]) for row, name in enumerate(found) if name is None]
    if missing:
        said = f"{where}: {len(missing)} of {len(found)} rows name an image that isn't there, such as {missing[0]!r}"
        if options["on_error"] == "raise":
            raise DataError(f"{said}; on_error='skip' leaves them out")
        notes.append(said + "; left out")
    unnamed = len(set(names) - set(found))
    if unnamed:
        notes.append(f"{unnamed} images have no row in {where}; left out")
    frame = frame.iloc[rows].reset_index(drop=True)
    images = [str(found[row]) for row in rows]
    frame, images = _once(frame, images, [*label_columns, *([split_column] if split_column else [])], where)
    splits = _splits(frame, split_column, notes, where)
    task, y, classes = _targets(frame, label_columns, options, separator, notes, where)
    name = label_columns[0] if len(label_columns) == 1 else None
    return Labels(task, images, y, splits, classes, name, notes)


def _keys(name: str) -> tuple[str, str, str]:
    """What a row may call an image: its path from the folder, its file name, that without extension."""
    base = name.rsplit("/", 1)[-1]
    return name, base, base.rsplit(".", 1)[0]


def _images(frame: Any, names: Sequence[str], wanted: str | None, where: str) -> tuple[str, list[str | None]]:
    """The column that names images, and the image of each row."""
    tables: list[dict[str, str | None]] = [{}, {}, {}]
    for name in names:
        for table, key in zip(tables, _keys(name), strict=True):
            table[key] = None if key in table else name  # None: several have it
    best: tuple[int, str, list[str | None]] | None = None
    for column in [wanted] if wanted else list(frame.columns):
        if column not in frame:
            raise DataError(f"{where}: no column {column!r}; it has {', '.join(frame.columns)}")
        values = [clean_name(value) for value in frame[column]]
        bases = [value.rsplit("/", 1)[-1] for value in values]
        for hits in (
            [tables[0].get(value) for value in values],
            [tables[1].get(base) for base in bases],
            [tables[2].get(base) for base in bases],
            _by_suffix(values, names),
            # In the folder that the table of labels lies in.
            [tables[0].get(f"{where.rpartition('/')[0]}/{value}") for value in values],
        ):
            # Different images: class numbers may be file names too, but of few files.
            count = len(set(hits) - {None})
            if count and (best is None or count > best[0]):
                best = count, column, hits
    if best is None:
        shown = ", ".join(f"{name} ({frame[name].iloc[0]!r})" for name in list(frame.columns)[:6])
        raise DataError(
            f"{where}: no column names the images, such as {names[0]!r}; columns with their first value: {shown}"
        )
    return best[1], best[2]


def _by_suffix(values: Sequence[str], names: Sequence[str]) -> list[str | None]:
    """Images whose path ends as the value does, for files that are told apart by their folder."""
    table: dict[str, str | None] = {}
    for name in names:
        parts = name.split("/")
        for start in range(1, len(parts) - 1):
            key = "/".join(parts[start:])
            table[key] = None if key in table else name
    return [table.get(value) for value in values]


def _split_column(frame: Any, wanted: str | None, where: str) -> str | None:
    if wanted is not None:
        if wanted not in frame:
            raise DataError(f"{where}: no column {wanted!r}; it has {', '.join(frame.columns)}")
        return wanted
    for column in frame.columns:
        if column.lower() in SPLIT_NAMES and all(split_of(v) for v in frame[column].unique()):
            return str(column)
    return None


def _label_columns(frame: Any, wanted: Any, used: set[str | None], notes: list[str], where: str) -> list[str]:
    if wanted is not None:
        columns = [wanted] if isinstance(wanted, str) else list(wanted)
        for column in columns:
            if column not in frame:
                raise DataError(f"{where}: no column {column!r}; it has {', '.join(frame.columns)}")
        return columns
    left = [
        str(column) for column in frame.columns if column not in used and not column.startswith("Unnamed")
    ]
    boxes = _boxes(left)
    left = [column for column in left if column not in boxes]
    if boxes and left:
        notes.append(
            f"{', '.join(boxes)} look like bounding boxes, which are not read: an image has one label"
        )
    named = [column for column in left if column.lower().replace(" ", "_") in LABEL_NAMES]
    if len(named) == 1:
        return named
    if len(left) == 1:
        return left
    hot = [column for column in left if set(frame[column].unique()) <= {"0", "1", "0.0", "1.0"}]
    if len(hot) > 1 and len(hot) == len(left):
        return hot
    beside = f"{', '.join(boxes)}, which look like bounding boxes" if boxes else "none beside the images"
    raise DataError(
        f"{where}: which column is the label? it has {', '.join(left) or beside}; "
        "give label_column='NAME', or a list of 0/1 columns"
    )


def _boxes(columns: Sequence[str]) -> list[str]:
    """The columns that are a bounding box: three or more of their usual names, x beside y, or one that says so.

    >>> _boxes(["x", "y", "w", "h", "class"]), _boxes(["y"]), _boxes(["width", "height", "label"])
    (['x', 'y', 'w', 'h'], [], [])
    """
    found = [column for column in columns if column.lower().replace(" ", "_") in BOXES]
    plain = {column.lower() for column in found}
    sure = len(found) > 2 or {"x", "y"} <= plain or any("box" in column for column in plain)
    return found if sure else []


def _once(frame: Any, images: list[str], columns: list[str], where: str) -> tuple[Any, list[str]]:
    """Rows that say the same of an image again are dropped. Raises `DataError` where they differ."""
    first: dict[str, int] = {}
    kept = []
    for row, image in enumerate(images):
        if image not in first:
            first[image] = row
            kept.append(row)
        elif not (frame[columns].iloc[row] == frame[columns].iloc[first[image]]).all():
            one, two = (list(frame[columns].iloc[place]) for place in (first[image], row))
            raise DataError(f"{where}: {image!r} has two rows that differ: {one} and {two}; leave one")
    return frame.iloc[kept].reset_index(drop=True), [images[row] for row in kept]


def _splits(frame: Any, column: str | None, notes: list[str], where: str) -> list[str | None]:
    if column is None:
        return [None] * len(frame)
    told = [split_of(value) for value in frame[column]]
    for value, split in zip(frame[column], told, strict=True):
        if split is None:
            raise DataError(f"{where}: column {column!r} has {value!r}; expected train, validation or test")
    if TRAIN not in told:
        raise DataError(f"{where}: column {column!r} names no row to train on")
    tests = told.count(TEST)
    if tests and VALIDATION in told:
        notes.append(f"{tests} test images are left alone")
        return [IGNORE if split == TEST else split for split in told]
    if tests:
        notes.append("the test images are used for validation, as no row is for validation")
    return [VALIDATION if split == TEST else split for split in told]


def _targets(
    frame: Any,
    columns: list[str],
    options: dict[str, Any],
    table_separator: str | None,
    notes: list[str],
    where: str,
) -> tuple[str, np.ndarray, list[str] | None]:
    task, separator = options["task"], options["label_separator"]
    if len(columns) > 1:
        return _hot(frame, columns, task, where)
    values = frame[columns[0]].tolist()
    if separator is None and task in ("auto", "multilabel"):
        separator = next((mark for mark in SEPARATORS if any(mark in value for value in values)), None)
    if separator is not None and task in ("auto", "multilabel"):
        notes.append(f"several labels an image, separated by {separator!r} in {columns[0]!r}")
        lists = [[part.strip() for part in value.split(separator) if part.strip()] for value in values]
        return _multi_hot(lists)
    if task == "multilabel":
        return _multi_hot([[value] if value else [] for value in values])
    for row, value in enumerate(values):
        if not value:
            raise DataError(f"{where}: the image {frame.iloc[row, 0]!r} has no value in {columns[0]!r}")
    numbers, left, said = _numbers(values, columns[0], table_separator)
    told = f"{where}: column {columns[0]!r}"
    if task == "regression" and (numbers is None or left):
        raise DataError(f"{told} has {left or values[0]!r}; expected numbers, as task='regression' asks")
    if numbers is not None and task in ("auto", "regression"):
        known = numbers[np.isfinite(numbers)]
        whole = bool(np.all(known == np.round(known)))
        if task == "regression" or not whole or len(set(values)) > MAX_CLASSES_OF_NUMBERS:
            if left:
                raise DataError(
                    f"{told} has numbers, but also {left}; take its rows out, or task='classification'"
                )
            notes += said
            return "regression", numbers, None
    order = numbers.tolist() if numbers is not None and not left else [0.0] * len(values)
    classes = [name for _, name in sorted(set(zip(order, values, strict=True)))]
    place = {name: index for index, name in enumerate(classes)}
    return "classification", np.array([place[value] for value in values], np.int32), classes


def _hot(frame: Any, columns: list[str], task: str, where: str) -> tuple[str, np.ndarray, list[str]]:
    """Columns of 0 and 1, one a class: a classification where each row has one 1, else several labels an image."""
    numbers, left, _ = _numbers([value for column in columns for value in frame[column]], columns[0], None)
    if numbers is None or left or not np.isin(numbers, (0, 1)).all():
        raise DataError(f"{where}: columns {', '.join(columns[:5])}: expected 0 or 1 in each row")
    table = numbers.reshape(len(columns), -1).T.astype(np.float32)
    if task != "multilabel" and (table.sum(axis=1) == 1).all():
        return "classification", table.argmax(axis=1).astype(np.int32), columns
    if task == "classification":
        row = int(np.flatnonzero(table.sum(axis=1) != 1)[0])
        raise DataError(
            f"{where}: row {row + 1} has {int(table[row].sum())} labels; a classification needs one"
        )
    return "multilabel", table, columns


def _multi_hot(lists: Sequence[Sequence[str]]) -> tuple[str, np.ndarray, list[str]]:
    classes = sorted({name for names in lists for name in names})
    place = {name: index for index, name in enumerate(classes)}
    table = np.zeros((len(lists), len(classes)), np.float32)
    for row, names in enumerate(lists):
        table[row, [place[name] for name in names]] = 1
    return "multilabel", table, classes


def _numbers(
    values: Sequence[str], name: str, separator: str | None
) -> tuple[np.ndarray | None, str | None, list[str]]:
    """(numbers, a value that is none, sentences), read as a table's column is; None where it is none of numbers."""
    cells = filled(list(values))
    seen = Seen()
    seen.add(cells)
    column, notes = column_of(name, seen, Wishes(), hint_of({name: seen}, separator))
    if column is None or column.kind != "number":
        return None, None, []
    numbers, _, units = column.numbers(cells)
    bad = np.flatnonzero(~np.isfinite(numbers))
    named = sorted(unit or "no unit" for unit, count in units.items() if count)
    if len(named) > 1:
        notes = [*notes, f"column {name!r}: values in {' and '.join(named)}; they are taken as they stand"]
    return numbers, repr(values[bad[0]]) if len(bad) else None, notes
