"""Texts with their labels and splits, from whichever layout a file or folder has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.split_names import (
    TRAIN,
    by_names,
    split_of_cell,
    split_of_file,
    split_of_word,
    told_to_predict,
)
from lepton_kit.data.texts.reading import (
    LINES,
    TABLES,
    Rows,
    decoded,
    has_no_header,
    rows_of,
    rows_of_memory,
    text_files,
)
from lepton_kit.errors import DataError

TEXT_COLUMNS = (
    "text",
    "sentence",
    "review",
    "message",
    "content",
    "comment",
    "utterance",
    "document",
    "tweet",
    "body",
)
LABEL_COLUMNS = (
    "label",
    "intent",
    "class",
    "category",
    "target",
    "sentiment",
    "labels",
    "topic",
    "emotion",
    "y",
)
UNLABELLED = {"unsup", "unlabeled", "unlabelled"}
"""Folders beside the classes that hold no class, as in the IMDb reviews."""


@dataclass
class Labelled:
    """Texts, a tuple of labels each, and the split each belongs to (None where the source says nothing)."""

    file: str
    texts: list[str] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """Where each text stands, for errors."""
    several: bool = False
    """Whether a text may have several labels."""
    notes: list[str] = field(default_factory=list)
    column: str = "text"
    label: str | list[str] = "label"
    """The columns of texts and labels, where there are any."""
    whole_files: bool = False
    header: bool | int = True
    separator: str | None = None

    def part(self, kept: Sequence[int]) -> None:
        """Leave these rows only."""
        for name in ("texts", "labels", "splits", "places"):
            values = getattr(self, name)
            setattr(self, name, [values[row] for row in kept])

    def rows(self, split: str) -> np.ndarray:
        """The rows of a split."""
        return np.flatnonzero([one == split for one in self.splits])


def read(path: Path, options: dict[str, Any]) -> Labelled:
    """Every text of a file or folder. Raises `DataError` that names the file and row."""
    if path.is_file():
        found = _of_table(path, options, None)
    else:
        tables = sorted(
            one for one in path.iterdir() if one.suffix.lower() in (*TABLES, *LINES) and one.is_file()
        )
        found = _of_tables(path, tables, options) if tables else _of_folder(path)
    _drop_empty(found)
    _choose_splits(found)
    return found


def _of_table(path: Path, options: dict[str, Any], split: str | None) -> Labelled:
    rows, header, separator, bare = _rows(path, options)
    return _of_rows(rows, options, split, header, separator, bare)


def _rows(path: Path, options: dict[str, Any]) -> tuple[Rows, bool | int, str | None, bool]:
    """(rows of a file, whether it has a header, its separator, whether these were found by a tab in each line)."""
    header, separator = options["header"], options["separator"]
    bare = header is True and separator is None and options["text"] is None and has_no_header(path)
    if bare:
        header, separator = False, "\t"
    return rows_of(path, header, separator, options["encoding"]), header, separator, bare


def of_memory(given: Any, options: dict[str, Any]) -> Labelled:
    """Texts of a frame, a dictionary of columns, or a list of dictionaries. Raises `DataError`."""
    found = _of_rows(rows_of_memory(given), options)
    _drop_empty(found)
    _choose_splits(found)
    return found


def _of_rows(
    rows: Rows,
    options: dict[str, Any],
    split: str | None = None,
    header: bool | int = True,
    separator: str | None = None,
    bare: bool = False,
) -> Labelled:
    text, label = _shorter_is_label(rows) if bare else _columns(rows, options)
    several = isinstance(label, list) or options["label_separator"] is not None
    found = Labelled(
        rows.file, column=text, label=label, header=header, separator=separator, notes=list(rows.notes)
    )
    if bare:
        found.notes.append(f"no header line: labels are {label}, texts {text}")
    values = rows.column(text)
    wrong = next((row for row, one in enumerate(values) if not isinstance(one, str | None)), None)
    if wrong is not None:
        raise DataError(
            f"{rows.file}: row {wrong + 1} has {values[wrong]!r} in column {text!r}; expected a text"
        )
    found.texts = [one or "" for one in values]
    found.places = [f"row {row + 1}" for row in range(len(values))]
    if isinstance(label, list):
        found.labels = _of_flags(rows, label)
    else:
        cells = rows.column(label)
        several = several or any(isinstance(one, list) for one in cells)
        found.labels = [_labels(one, options["label_separator"]) for one in cells]
    found.several = several
    found.splits = [split] * len(values)
    if options["split"] is not None:
        found.splits = [*_given(rows.column(options["split"]), options["split"], rows.file)]
    if not bare and (options["text"] is None or options["label"] is None):
        shown = ", ".join(map(repr, label)) if isinstance(label, list) else repr(label)
        rest = [one for one in rows.columns if one not in (text, label, options["split"])]
        unread = f"; not read: {', '.join(map(repr, rest[:10]))}" if rest else ""
        found.notes.append(f"texts are column {text!r}, labels {shown}{unread}")
    return found


def _columns(rows: Rows, options: dict[str, Any]) -> tuple[str, str | list[str]]:
    """The columns of texts and labels: as given, else by a usual name. Raises `DataError` where none has one."""
    by_name = {name.strip().lower(): name for name in reversed(rows.columns)}
    found = {}
    for role, usual in (("text", TEXT_COLUMNS), ("label", LABEL_COLUMNS)):
        given = options[role]
        if given is None:
            given = next((by_name[name] for name in usual if name in by_name), None)
        if given is None:
            raise DataError(
                f"{rows.file}: which column holds the {role}s? It has {', '.join(list(rows.columns)[:30])}; give {role}="
            )
        found[role] = given
    return found["text"], found["label"]


def _shorter_is_label(rows: Rows) -> tuple[str, str]:
    """(texts, labels) of two columns without names: labels have fewer different values."""
    counts = {name: len(set(values)) for name, values in rows.columns.items()}
    label, text = sorted(counts, key=counts.__getitem__)
    return text, label


def _labels(value: Any, separator: str | None) -> tuple[str, ...]:
    """The labels of one cell."""
    if value is None:
        return ()
    if isinstance(value, list):
        parts = value
    elif separator is not None:
        parts = str(value).split(separator)
    else:
        parts = [value]
    names = [str(int(one)) if isinstance(one, bool) else str(one).strip() for one in parts if one is not None]
    return tuple(dict.fromkeys(name for name in names if name))


def _of_flags(rows: Rows, names: list[str]) -> list[tuple[str, ...]]:
    """Labels from columns of 0 and 1, one a class."""
    yes, no = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no", ""}
    flags: list[list[str]] = [[] for _ in range(len(rows))]
    for name in names:
        for row, value in enumerate(rows.column(name)):
            plain = str(value if value is not None else "").strip().lower()
            if plain not in yes | no:
                raise DataError(
                    f"{rows.file}: row {row + 1} has {value!r} in column {name!r}; expected 0 or 1, since label= names several columns"
                )
            if plain in yes:
                flags[row].append(name)
    return [tuple(one) for one in flags]


def _given(values: Sequence[Any], name: str, file: str) -> list[str]:
    for row, value in enumerate(values):
        if split_of_cell(str(value)) is None:
            raise DataError(
                f"{file}: row {row + 1} has {value!r} in column {name!r}; allowed: train, validation, test"
            )
    return [str(split_of_cell(str(value))) for value in values]


def _of_tables(folder: Path, tables: list[Path], options: dict[str, Any]) -> Labelled:
    """A folder with a file a split: train.csv, validation.csv, test.csv. A test file without labels is left alone."""
    names = [table.name for table in tables]
    if not any(split_of_file(name) in (TRAIN, None) for name in names):
        raise DataError(f"{folder}: no train file; it has {', '.join(names)}")
    train, held, notes = by_names(names)
    if len(train) > 1 or len(held) > 1:
        many = train if len(train) > 1 else held
        raise DataError(
            f"{folder}: {many[0]} beside {', '.join(many[1:5])}; expected one file a split (train, validation, test), or "
            "give the path of one file"
        )
    whole = _of_table(folder / train[0], options, TRAIN if held else None)
    whole.file = folder.name
    whole.notes += notes
    for name in held:
        rows = _rows(folder / name, options)[0]
        label = whole.label if isinstance(whole.label, list) else [whole.label]
        if whole.column in rows.columns and not {*label} & {*rows.columns}:
            whole.notes.append(told_to_predict([name], train, label))
            whole.splits = [None] * len(whole.splits)
            continue
        split = split_of_file(name)
        one = _of_table(folder / name, {**options, "text": options["text"] or whole.column}, split)
        for part in ("texts", "labels", "splits"):
            getattr(whole, part).extend(getattr(one, part))
        whole.places += [f"{name}: {place}" for place in one.places]
        whole.several |= one.several
    return whole


def _of_folder(folder: Path) -> Labelled:
    """Class folders of text files, or such folders for each split."""
    found = Labelled(folder.name, whole_files=True)
    loose: list[Path] = []
    tops = _folders(folder, loose)
    while len(tops) == 1 and not split_of_word(tops[0].name) and any(map(text_files, _folders(tops[0], []))):
        folder = tops[0]  # a folder around everything, as archives have
        tops = _folders(folder, loose)
    splits = [one for one in tops if split_of_word(one.name)]
    if splits and len(splits) < len(tops):
        strange = next(one.name for one in tops if one not in splits)
        raise DataError(
            f"{folder}: the folder {strange!r} stands beside {', '.join(one.name for one in splits)}; is it a class or a split? "
            "Move it, or give the path of the folder to read"
        )
    encodings: Counter[str] = Counter()
    example: dict[str, str] = {}
    for top in splits or [folder]:
        split = split_of_word(top.name) if splits else None
        classes = _folders(top, loose if splits else [])
        for place in classes:
            if place.name in UNLABELLED:
                found.notes.append(
                    f"the folder {place.relative_to(folder)} is left out: its texts have no label"
                )
                continue
            files = text_files(place)
            if not files:
                found.notes.append(f"the folder {place.relative_to(folder)} has no text files")
            for file in files:
                content, encoding = decoded(file)
                found.texts.append(content)
                found.labels.append((place.name,))
                found.splits.append(split)
                found.places.append(str(file.relative_to(folder)))
                encodings[encoding] += 1
                example.setdefault(encoding, found.places[-1])
    if not found.texts:
        raise DataError(
            f"{folder}: no texts; expected class folders of .txt files, or train.csv beside validation.csv"
        )
    if loose:
        shown = ", ".join(one.name for one in loose[:5])
        found.notes.append(f"{len(loose)} text files lie in no class folder and are left out: {shown}")
    for encoding in ("cp1252", "latin-1"):
        if encodings[encoding]:
            found.notes.append(
                f"{encodings[encoding]} of {len(found.texts)} files are no UTF-8 and were read as {encoding}, such as {example[encoding]}"
            )
    return found


def _folders(folder: Path, loose: list[Path]) -> list[Path]:
    """The folders in a folder, sorted; the text files beside them are added to ``loose``."""
    inside = sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    loose += [one for one in inside if one.is_file() and one.suffix.lower() == ".txt"]
    return [one for one in inside if one.is_dir()]


def _drop_empty(found: Labelled) -> None:
    """Rows without a text or, where one is needed, without a label say nothing: left out, and that is said."""
    for what, empty in (
        ("text", [not one.strip() for one in found.texts]),
        ("label", [not one and not found.several for one in found.labels]),
    ):
        bad = np.flatnonzero(empty)
        if len(bad) == len(empty):
            raise DataError(f"{found.file}: no row has a {what}")
        if len(bad):
            found.notes.append(
                f"left out: {len(bad)} of {len(empty)} without a {what}, the first at {found.places[bad[0]]}"
            )
            # The other list of flags is made from what stays.
            found.part([row for row, one in enumerate(empty) if not one])
            return _drop_empty(found)
    return None


def _choose_splits(found: Labelled) -> None:
    """Test rows are held out where there are no others; beside validation rows they are left alone."""
    kinds = Counter(found.splits)
    if not kinds.keys() - {None}:
        return
    if not kinds["train"]:
        raise DataError(f"{found.file}: no row is marked as train")
    if kinds["validation"] and kinds["test"]:
        found.notes.append(f"{kinds['test']} test rows are left alone: there are validation rows")
        found.part([row for row, one in enumerate(found.splits) if one != "test"])
    found.splits = ["train" if one == "train" else "validation" for one in found.splits]
