"""From the pieces of a table to prepared data, in three passes: what it holds, what its training rows say, the arrays."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_kit.data.checks import check_classes
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.preprocessing import Target
from lepton_kit.data.tables.chunks import Chunk, Table
from lepton_kit.data.tables.columns import Column
from lepton_kit.data.tables.heading import ROW_NAMES
from lepton_kit.data.tables.holding import Held, held_rows
from lepton_kit.data.tables.learn import Hint, Learned, Seen, Wishes, column_of, hint_of
from lepton_kit.data.tables.preprocessing import Reading, TablePreprocessing
from lepton_kit.data.tables.reader import other_units
from lepton_kit.data.tables.targets import Answers, Whole, answers
from lepton_kit.data.tables.weighing import by_class, sample_weights
from lepton_kit.data.writing import FolderWriter
from lepton_kit.errors import DataError

KEEP_CELLS = 2**19
"""Up to so many cells, some 40 MB, pieces are kept between the passes; a larger file is read again."""
SPECIAL = ("split", "group", "time", "sample_weight")


@dataclass
class Rows:
    """All rows of the training table, then those of the validation file, as often as they are asked for."""

    tables: Sequence[Table]
    sizes: list[int] = field(default_factory=list)
    kept: list[tuple[int, Chunk]] | None = None

    def __iter__(self) -> Iterator[tuple[int, Chunk]]:
        """(number of the first row, over all files; rows)."""
        if self.kept is not None:
            yield from self.kept
            return
        first, cells, sizes = 0, 0, []
        kept: list[tuple[int, Chunk]] = []
        for table in self.tables:
            start = first
            for chunk in table.chunks():
                yield first, chunk
                cells += len(chunk) * len(chunk.columns)
                if cells <= KEEP_CELLS:
                    kept.append((first, chunk))
                else:
                    kept.clear()
                first += len(chunk)
            sizes.append(first - start)
        self.sizes = sizes
        if cells <= KEEP_CELLS:
            self.kept = kept

    def where(self, row: int) -> str:
        """A row in words."""
        for first, chunk in self:
            if row < first + len(chunk):
                return chunk.where(row - first)
        return f"row {row}"


@dataclass
class Read:
    """What the first pass found: the look of every feature column, and the special columns as a whole."""

    features: dict[str, Seen]
    wholes: dict[str, Whole]
    hint: Hint | None


def make(
    table: Table, validation: Table | None, options: Mapping[str, Any], writer: FolderWriter | None
) -> PreparedData:
    """Prepared data, their arrays in the writer's folder or, without one, in memory. Raises `DataError`."""
    targets = [options["target"]] if isinstance(options["target"], str) else list(options["target"])
    features = features_of(table, targets, options)
    for name in [*features, *targets] if validation is not None else ():
        _known(validation, name)  # type: ignore[arg-type]  # there is one
    rows = Rows([table] if validation is None else [table, validation])
    names = ("decimal", "thousands", "day_first", "categorical", "max_categories", "hash_buckets")
    wishes = Wishes(**{name: options[name] for name in names}, missing=tuple(options["missing"]))
    for name in wishes.categorical:
        _known(table, name)
    special = {role: options[role] for role in SPECIAL if options[role] is not None}
    read = _read(rows, features, [*targets, *special.values()], table.separator)
    with _named(*(one.source for one in rows.tables)):
        found = answers(
            [read.wholes[name] for name in targets],
            options["task"],
            options["unit"] or _unit_of(targets, table.units),
            wishes,
            read.hint,
            rows.where,
        )
        labels = found.y if found.target.task == "classification" else None
        columns = {role: read.wholes[name] for role, name in special.items()}
        held = held_rows(columns, options, rows.sizes, labels, wishes, rows.where)
        y, target = _scaled(found, held.train)
        lacking = validation is not None and special.get("sample_weight") not in validation.names
        weights = sample_weights(
            columns.get("sample_weight"), wishes, rows.where, rows.sizes[0] if lacking else None
        )
    learned, notes = _learn(rows, read, held.train, wishes)
    if not learned:
        raise DataError(f"{table.source}: no feature column says anything: {'; '.join(notes)}")
    learned = [one.model_copy(update={"unit": table.units.get(one.name)}) for one in learned]
    used = {one.name for one in learned}
    others = dict.fromkeys(name for one in rows.tables for name in one.names if name not in used)
    preprocessing = TablePreprocessing(
        target=target,
        columns=tuple(learned),
        others=tuple(others),
        encoding=options["encoding"],
        reading=Reading.of(options, table.separator),
    )
    x, later = _encode(rows, preprocessing, held, writer)
    splits = {}
    for name, places in (("train", held.train), ("validation", held.held)):
        if not len(places):
            continue
        w = weights[places] if weights is not None else None
        if name == "train" and options["class_weight"] is not None:
            with _named(table.source):
                of_class = by_class(y[places], target, options["class_weight"])
            w = of_class if w is None else w * of_class
        splits[name] = Split(x[name], y[places], w)
        for role, values in (("y", y[places]), ("w", w)):
            if writer is not None and values is not None:
                writer.put(name, role, None, values)
    read_so = [note for one in rows.tables for note in one.notes]
    notes = [
        *read_so,
        *(other_units(validation, table) if validation is not None else ()),
        *_left_out(table, features, options),
        *held.notes,
        *found.notes,
        *notes,
        *_told(target),
        *later,
    ]
    return PreparedData(
        train=splits["train"],
        validation=splits.get("validation"),
        task=target.task,
        class_names=target.class_names,
        num_classes=len(target.class_names) if target.class_names is not None else None,
        value_range=(-1.0, 1.0),
        feature_names=preprocessing.feature_names,
        details={
            "columns": {column.name: _summary(column) for column in learned},
            **({"notes": list(dict.fromkeys(notes))} if notes else {}),
        },
        preprocessing=preprocessing,
    )


def _summary(column: Column) -> dict[str, Any]:
    """What a column became, for people and panels; `TablePreprocessing.columns` says it all."""
    told: dict[str, Any] = {"kind": column.kind, "features": len(column.features), "missing": column.flag}
    if column.kind in ("number", "date"):
        told |= {"mean": column.mean, "deviation": column.scale}
    return told


def _unit_of(targets: Sequence[str], units: Mapping[str, str]) -> str | None:
    """The unit that all targets have in the row below the header, if they have one."""
    found = {units.get(name) for name in targets}
    return found.pop() if len(found) == 1 else None


class _named:
    """Within it, the text of a `DataError` begins with the file's name."""

    def __init__(self, *sources: str):
        self.sources = sources

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, failure: Any, trace: Any) -> None:
        begins = tuple(f"{source}: " for source in self.sources)
        if isinstance(failure, DataError) and not str(failure).startswith(begins):
            raise DataError(f"{self.sources[0]}: {failure}") from None


def _known(table: Table, name: str) -> None:
    if name in table.names:
        return
    near = {one.lower(): one for one in table.names}
    like = difflib.get_close_matches(name.lower(), list(near), n=1)
    raise DataError(
        f"{table.source}: no column {name!r}; it has {', '.join(table.names[:30])}"
        + (f"; did you mean {near[like[0]]!r}?" if like else "")
        + table.hint
    )


def features_of(table: Table, targets: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """The columns to predict from. Raises `DataError` for a name that is no column."""
    special = [options[role] for role in SPECIAL if options[role] is not None]
    for name in [*targets, *special, *options["drop"], *(options["features"] or ())]:
        _known(table, name)
    if options["features"] is not None:
        for name in targets:
            if name in options["features"]:
                raise DataError(f"{table.source}: the target {name!r} is among the features")
        found = [name for name in dict.fromkeys(options["features"]) if name not in options["drop"]]
    else:
        others = {*targets, *special, *options["drop"]}
        found = [name for name in table.names if name not in others and not _counts_rows(name)]
    if not found:
        raise DataError(f"{table.source}: no feature columns beside the target")
    return found


def _counts_rows(name: str) -> bool:
    """A column without a name of its own, which numbers or names the rows: as pandas and R write their index."""
    return name == ROW_NAMES or name.startswith(("Unnamed: 0", "__index_level_"))


def _left_out(table: Table, features: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    if options["features"] is not None:
        return []
    notes = [
        f"the column {name!r} is left out: it names or numbers the rows"
        for name in table.names
        if _counts_rows(name) and name not in options["drop"]
    ]
    if options["time"] is not None and options["time"] not in features:
        notes.append(f"the column {options['time']!r} says what is held out, and is no feature")
    return notes


def _read(rows: Rows, features: Sequence[str], special: Sequence[str], separator: str | None) -> Read:
    """The first pass. Raises `DataError` where there are no rows."""
    seen = {name: Seen() for name in features}
    wholes = {name: Whole(name) for name in special}
    for _, chunk in rows:
        for name, one in seen.items():
            one.add(chunk.columns[name])
        for name, whole in wholes.items():
            # A file of validation rows needs no column that says what is held out, nor weights.
            cells = chunk.columns.get(name)
            whole.add(np.full(len(chunk), None, object) if cells is None else cells)
    for table, size in zip(rows.tables, rows.sizes, strict=True):
        if not size:
            raise DataError(f"{table.source}: no rows")
    return Read(
        seen, wholes, hint_of({**seen, **{name: one.seen for name, one in wholes.items()}}, separator)
    )


def _learn(rows: Rows, read: Read, train: np.ndarray, wishes: Wishes) -> tuple[list[Column], list[str]]:
    """The second pass: the columns that say something, and sentences."""
    learned: dict[str, Learned] = {}
    notes: dict[str, list[str]] = {name: [] for name in read.features}
    for name, seen in read.features.items():
        column, notes[name] = column_of(name, seen, wishes, read.hint)
        if column is None:
            notes[name] = [f"column {name!r} is left out: it has no value in any row"]
        else:
            learned[name] = Learned(column, wishes)
    chosen = np.zeros(sum(rows.sizes), bool)
    chosen[train] = True
    for first, chunk in rows:
        mask = chosen[first : first + len(chunk)]
        for name, one in learned.items():
            one.add(chunk.columns[name][mask])
    columns = []
    for name, one in learned.items():
        column, more = one.column()
        notes[name] = [*notes[name], *more] if column is not None else more
        if column is not None:
            columns.append(column)
    return columns, [note for some in notes.values() for note in some]


class _Sink:
    """Rows of samples in order, into a file of the folder or into memory.

    A file is written, not mapped, so that its pages do not count as memory of this process.
    """

    def __init__(self, writer: FolderWriter | None, split: str, shape: tuple[int, int]):
        self.path = writer.file(split, "x", None) if writer is not None else None
        self.filled = 0
        if self.path is None:
            self.array = np.empty(shape, np.float32)
        else:
            self.file = self.path.open("wb")
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self.file, header)

    def add(self, rows: np.ndarray) -> None:
        if self.path is None:
            self.array[self.filled : self.filled + len(rows)] = rows
        else:
            self.file.write(np.ascontiguousarray(rows, "<f4").data.cast("B") if rows.size else b"")
        self.filled += len(rows)

    def close(self) -> None:
        if self.path is not None:
            self.file.close()

    def finish(self) -> np.ndarray:
        return self.array if self.path is None else np.load(self.path, mmap_mode="r")


def _encode(
    rows: Rows, preprocessing: TablePreprocessing, held: Held, writer: FolderWriter | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The third pass: the samples of each split, and sentences about held-out rows unlike the training rows."""
    width = len(preprocessing.feature_names)
    places = {"train": held.train, "validation": held.held}
    sinks = {name: _Sink(writer, name, (len(some), width)) for name, some in places.items() if len(some)}
    split_of = np.zeros(sum(rows.sizes), np.int8)
    for number, name in enumerate(sinks, 1):
        split_of[places[name]] = number
    strange: Counter[str] = Counter()
    try:
        for first, chunk in rows:
            splits = split_of[first : first + len(chunk)]
            encoded = preprocessing.encode_chunk(chunk)
            for place, why in encoded.problems.items():
                if splits[place]:
                    raise DataError(f"{chunk.where(place)}, {why}")
            strange.update(encoded.notes)
            for number, sink in enumerate(sinks.values(), 1):
                if encoded.x is not None:
                    sink.add(encoded.x[splits[encoded.rows] == number])
    finally:
        for sink in sinks.values():
            sink.close()
    arrays = {name: sink.finish() for name, sink in sinks.items()}
    return arrays, _strange(strange)


def _strange(notes: Counter[str]) -> list[str]:
    """One sentence a column about held-out rows unlike the training rows."""
    columns: dict[str, list[tuple[str, int]]] = {}
    for text, count in notes.items():
        columns.setdefault(text.partition(": ")[0], []).append((text, count))
    found = []
    for column, some in columns.items():
        count = sum(number for _, number in some)
        text = some[0][0] if len(some) == 1 else f"{column}: values that were never seen in training"
        found.append(f"held-out rows, {text} ({count} rows)")
    return found


def _scaled(found: Answers, train: np.ndarray) -> tuple[np.ndarray, Target]:
    """Targets to train on: labels as they are, values standardised by the training rows' mean and deviation."""
    target = found.target
    if target.task == "classification":
        try:
            check_classes(found.y[train], target.class_names)
        except DataError as failure:
            raise DataError(f"target {target.name!r}: {failure}") from None
    if target.task != "regression":
        return found.y, target
    values = found.y[train].astype(np.longdouble)
    mean, scale = np.atleast_1d(values.mean(0)), np.atleast_1d(values.std(0))
    if np.any(np.atleast_1d(found.y[train].min(0) == found.y[train].max(0))):
        raise DataError(
            f"target {target.name!r}: one value only in the training rows; nothing can be learned"
        )
    mean, scale = mean.astype(np.float64), scale.astype(np.float64)
    scaled = (found.y - mean) / scale if found.y.ndim > 1 else (found.y - mean[0]) / scale[0]
    told = {"mean": tuple(mean.tolist()), "scale": tuple(scale.tolist())}
    return scaled.astype(np.float32), target.model_copy(update=told)


def _told(target: Target) -> list[str]:
    if target.scale is None or len(target.scale) > 1:
        return []
    unit = f" {target.unit}" if target.unit else ""
    return [
        f"target {target.name!r} is standardised for training: an error of 1 is {target.scale[0]:.6g}{unit}"
    ]
