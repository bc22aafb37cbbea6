"""Parquet and Arrow files that are larger than memory: read by row group, encoded as a table is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.array_input import ArrayForm, ArraysPreprocessing
from lepton_kit.data.dataset import Dataset, dataset_of, is_whole, name_of
from lepton_kit.data.files import partition_of
from lepton_kit.data.large import columns, image_tables
from lepton_kit.data.large.arrow import ARROW, PARQUET, Tables, scanned
from lepton_kit.data.large.build import decoded
from lepton_kit.data.large.index import Form, Found, opened_parts, parts_of, split_of, write
from lepton_kit.data.large.reading import Samples
from lepton_kit.data.large.targets import Targets
from lepton_kit.data.places import Files, files_at
from lepton_kit.data.preprocessing import Preprocessing, Target
from lepton_kit.data.schemas import class_names
from lepton_kit.data.splitting import check_split
from lepton_kit.data.tables.learn import Seen
from lepton_kit.data.tables.preprocessing import TablePreprocessing
from lepton_kit.data.writing import FolderWriter, allocated
from lepton_kit.errors import ConfigError, DataError

LARGE_GROUP = 512 << 20


def parquet(
    path: str | Path,
    *,
    target: str,
    features: Sequence[str] | None = None,
    task: str | None = None,
    validation_split: float = 0.2,
    seed: int = 0,
    image_size: Sequence[int] | None = None,
    cache: bool = False,
) -> Dataset:
    """Parquet or Arrow files in a folder, or one of them, or such an address (``s3://…``), read by row group.

    Columns become samples as those of `table` do: numbers standardised, dates in parts, texts by category, a flag for
    missing values. Columns of lists that are all as long follow as they are (alone, they keep their type). A target of text, or of at most 20 different whole numbers, makes a classification,
    any other a regression, whose values are standardised; ``task`` says it otherwise. Files or folders called
    train and validation (or val, dev, test) are the split, else a share of each row group is held out.

    A column of images, as Hugging Face stores them (a structure with ``bytes``), becomes uint8 ``(height, width,
    channels)``; it is read without other columns. ``image_size`` is (height, width) where they have several sizes. Names of
    classes that the file's metadata bring are taken.

    Samples are not copied anywhere: `prepare` reads the files through once (columns of text twice), for statistics,
    targets and a checksum of each row group, and training reads row groups ahead. With ``cache=True`` they are decoded to disk once instead.
    Needs pyarrow: ``pip install lepton-kit[large]``. Raises `ConfigError`, and `prepare` `DataError`.

    >>> parquet("measurements/", target="quality", features=["a", "b"])
    Dataset(parquet, 'measurements')
    """
    check_split(validation_split, seed)
    if isinstance(features, str) or not (features is None or all(isinstance(name, str) for name in features)):
        raise ConfigError("data.features", given=features, rule="a list of column names")
    if task not in (None, "classification", "regression"):
        raise ConfigError("data.task", given=task, rule="classification, regression or null")
    if image_size is not None and not (len(image_size) == 2 and all(is_whole(n, 1) for n in image_size)):
        raise ConfigError(
            "data.image_size", given=image_size, rule="(height, width), whole numbers of at least 1"
        )
    return dataset_of(
        "parquet",
        path,
        target=name_of("target", target),
        features=list(features) if features is not None else None,
        task=task,
        image_size=list(image_size) if image_size is not None else None,
        validation_split=validation_split,
        seed=seed,
        cache=cache,
    )


def build(path: Path | str, options: dict[str, Any], writer: FolderWriter) -> None:
    """Read the files through and write their index, or with ``cache`` the samples."""
    found, parts, targets = scan(path, options, writer.folder)
    if options["cache"]:
        decoded(writer, found, parts, targets)
    else:
        write(writer, found, parts, targets)


def scan(
    path: Path | str, options: dict[str, Any], scratch: Path
) -> tuple[Found, dict[str, Any], np.ndarray]:
    """What the files hold: one pass for the row groups and the targets, with statistics of the training rows."""
    files, train_files, notes = split_of(files_at(path, (*PARQUET, *ARROW)))
    tables, sizes = scanned(Files(files))
    edges = np.concatenate([[0], np.cumsum(sizes)])
    if edges[-1] < 2:
        raise DataError(f"{path}: {edges[-1]} rows; expected at least 2")
    train_rows = int(edges[np.searchsorted(tables.blocks[:, 0], train_files)])
    parts = parts_of(edges, train_rows, options["validation_split"], options["seed"])
    schema = tables.table(0).schema
    notes += _partitions([file.name for file in files], schema.names, options["target"])
    _known(schema, options, files[0].name)
    target = options["target"]
    kind = schema.field(target).type
    if not (columns.is_number(kind) or columns.kind_of(kind) == "text"):
        raise DataError(f"{files[0].name}: the target {target!r} is of type {kind}; expected numbers or text")
    image = image_tables.image_column(schema, options["features"], files[0].name)
    if image is not None:
        found, y = image_tables.scan(tables, edges, parts, files, image, options, scratch)
        found.notes[:0] = notes
        return _with_size(found), parts, y
    names, left = _features(schema, options, files[0].name)
    notes += left
    train, _, train_edges = opened_parts(parts, edges)
    looks, said = _looks(tables, schema, names)
    notes += said
    widths: dict[str, tuple[int, str]] = {}
    bounds = [np.inf, -np.inf]
    raw = allocated(scratch / "raw.npy", (int(edges[-1]),), np.float64)
    targets = Targets(target, raw, class_names(schema).get(target))
    sums = np.zeros((len(edges) - 1, len(looks)), np.uint32)
    for number in range(len(edges) - 1):
        place = tables.place(number)
        group = tables.read(number, [*looks, target])
        targets.put(int(edges[number]), group[target], columns.kind_of(kind) == "text", place)
        inside = _inside(train, train_edges, edges, number)
        for at, (name, learned) in enumerate(looks.items()):
            if learned is None:
                values: columns.Values = _vector(group[name], name, widths, bounds, place)
            else:
                values = columns.read(group[name], name, place)
                columns.check(learned.start, values, place)
                learned.add(values.cells(inside) if isinstance(values, columns.Text) else values[inside])
            sums[number, at] = columns.checksum(values)
    y, what = targets.finish(options["task"], _places(train))
    del raw
    (scratch / "raw.npy").unlink()
    states = []
    for name, learned in looks.items():
        if learned is None:
            states.append({"name": name, "width": widths[name][0]})
            continue
        column, more = learned.column()
        notes += more
        if column is not None:
            states.append({"name": name, "column": column.model_dump(mode="json")})
    if not states:
        raise DataError(f"{files[0].name}: no feature column says anything: {'; '.join(notes)}")
    plans = [columns.Plan(state) for state in states]
    used = [at for at, name in enumerate(looks) if name in {plan.name for plan in plans}]
    digests = np.array([columns.digest(row) for row in sums[:, used]], np.uint64)
    alone = len(plans) == 1 and plans[0].column is None
    width = sum(len(plan.features) for plan in plans)
    form = Form("x", None, (width,), widths[plans[0].name][1] if alone else "float32")
    if not alone:
        value_range = (-1.0, 1.0)
    else:
        value_range = (0.0, 255.0) if form.dtype == "uint8" else (bounds[0], bounds[1])
    found = Found(
        "parquet",
        files,
        {"plans": states},
        {"edges": edges, "digests": digests, "blocks": tables.blocks},
        [form],
        edges,
        by_block=True,
        class_names=what.class_names,
        value_range=value_range,
        feature_names=[name for plan in plans for name in plan.features],
        preprocessing=_preprocessing(plans, schema.names, what, form),
        notes=notes,
    )
    return _with_size(found), parts, y


def _with_size(found: Found) -> Found:
    """The same, with a sentence on row groups that fill the memory."""
    biggest = int(np.diff(found.edges).max()) * found.forms[0].bytes
    if biggest > LARGE_GROUP:
        found.notes.append(
            f"a row group of {biggest / 1e6:.0f} MB is read as a whole; smaller ones (row_group_size=) need less memory"
        )
    return found


def _partitions(files: Sequence[str], names: Sequence[str], target: str) -> list[str]:
    """A sentence on a column that stands in the names of folders alone. Raises `DataError` where it is the target."""
    found = {part[1] for name in files if (part := partition_of(name))} - set(names)
    if target in found:
        raise DataError(
            f"{files[0]}: the target {target!r} stands in the names of the folders alone; read it with pandas.read_parquet "
            "and give the frame to lk.data.table, or write it into the files"
        )
    return [f"{', '.join(sorted(found))}: in the names of the folders alone, not read"] if found else []


def _looks(tables: Tables, schema: Any, names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What will learn about each column (None for a vector), and sentences; only text is read for that."""
    seen = {name: Seen() for name in names if columns.kind_of(schema.field(name).type) != "vector"}
    text = [name for name in seen if columns.kind_of(schema.field(name).type) == "text"]
    typed = [name for name in seen if name not in text]
    for number in range(len(tables.blocks)):
        wanted = [*text, *typed] if not number else text
        group = tables.read(number, wanted) if wanted else {}
        for name in wanted:
            values = columns.read(group[name], name, tables.place(number))
            seen[name].add(values.cells() if isinstance(values, columns.Text) else values)
    found: dict[str, Any] = {}
    notes: list[str] = []
    for name in names:
        if name not in seen:
            found[name] = None
            continue
        learned, more = columns.looked_at(name, seen[name])
        notes += more
        if learned is not None:
            found[name] = learned
    return found, notes


def _vector(
    column: Any, name: str, widths: dict[str, tuple[int, str]], bounds: list[float], place: str
) -> np.ndarray:
    """Check a column of lists, and remember its width, its type and the range of its values."""
    width = widths[name][0] if name in widths else len(column[0].as_py() or ())
    found = columns.vectors(column, width, f"{place}, column {name!r}", 0)
    widths[name] = (width, found.dtype.name)
    bad = ~np.isfinite(found).all(axis=1) if found.dtype.kind == "f" else np.zeros(0, bool)
    if bad.any():
        raise DataError(
            f"{place}, row {int(np.flatnonzero(bad)[0])}: column {name!r} has a number that is not finite"
        )
    if found.size:
        bounds[0], bounds[1] = min(bounds[0], float(found.min())), max(bounds[1], float(found.max()))
    return found


def _preprocessing(
    plans: Sequence[columns.Plan], names: Sequence[str], target: Target, form: Form
) -> Preprocessing | None:
    """What encodes new rows as these; there is none for vectors beside other columns."""
    if all(plan.column is not None for plan in plans):
        used = {plan.name for plan in plans}
        others = tuple(name for name in names if name not in used)
        return TablePreprocessing(
            target=target, columns=tuple(plan.column for plan in plans if plan.column), others=others
        )
    if len(plans) == 1:
        return ArraysPreprocessing(target=target, inputs=(ArrayForm(shape=form.shape, dtype=form.dtype),))
    return None


def _known(schema: Any, options: Mapping[str, Any], file: str) -> None:
    """Raise `DataError` for a name that is no column, or a target among the features."""
    for name in [options["target"], *(options["features"] or [])]:
        if name not in schema.names:
            raise DataError(f"{file}: no column {name!r}; it has {', '.join(schema.names[:30])}")
    if options["target"] in (options["features"] or []):
        raise DataError(f"{file}: the target {options['target']!r} is among the features")


def _features(schema: Any, options: Mapping[str, Any], file: str) -> tuple[list[str], list[str]]:
    """The columns to predict from, and sentences on those that can't be."""
    names = options["features"] or [name for name in schema.names if name != options["target"]]
    unread = [name for name in names if columns.kind_of(schema.field(name).type) is None]
    if unread and options["features"]:
        kind = schema.field(unread[0]).type
        raise DataError(
            f"{file}: column {unread[0]!r} is of type {kind}; expected numbers, text or lists of numbers"
        )
    names = [name for name in names if name not in unread]
    if not names:
        raise DataError(f"{file}: no feature columns beside the target")
    return names, [f"column {name!r} of type {schema.field(name).type} is left out" for name in unread]


def _inside(train: Any, train_edges: np.ndarray, edges: np.ndarray, number: int) -> np.ndarray:
    """The training rows of a block, counted from its first row."""
    if number + 1 >= len(train_edges):
        return np.arange(0)
    result: np.ndarray = train.rows(np.arange(train_edges[number], train_edges[number + 1])) - edges[number]
    return result


def _places(train: Any) -> np.ndarray:
    result: np.ndarray = train.rows(np.arange(len(train)))
    return result


class TableReader:
    """Row groups as samples, checked against the index when they are read. See `reading.BlockReader`."""

    def __init__(self, files: Files, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        self.edges, self.digests = arrays["edges"], arrays["digests"]
        self._plans = [columns.Plan(one) for one in state["plans"]]
        self._tables = Tables(files, arrays["blocks"])
        self._checked: set[int] = set()
        """Blocks whose contents this process has compared with the index, which it does at their first read."""

    def block(self, number: int, *, again: bool = False) -> Samples:
        """See `BlockReader.block`."""
        group = self._tables.read(number, [plan.name for plan in self._plans])
        place = self._tables.place(number)
        values = [plan.read(group[plan.name], place) for plan in self._plans]
        if again or number not in self._checked:
            if columns.digest([columns.checksum(one) for one in values]) != int(self.digests[number]):
                raise DataError(
                    f"{place}: its contents have changed since the run's index was made; start a new run"
                )
            self._checked.add(number)
        return {("x", None): columns.encode(values, self._plans, place)}
