"""Recordings from what people keep them in: named arrays, a table a recording, or one long table with labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.archives.layout import HDF5, open_arrays
from lepton_kit.data.archives.readers import NotRows
from lepton_kit.data.files import partition_of
from lepton_kit.data.series.sheets import Sheet, has_decimal_commas, sheet_of
from lepton_kit.data.split_names import TEST, VALIDATION, split_of_word
from lepton_kit.data.tables.values import is_number
from lepton_kit.errors import DataError

NAME = re.compile(r"^(?:([A-Za-z]+)[_-])?(.+)$")
NUMBER = re.compile(r"^(.*\D)[_-](\d+)$")
CHANNELS = "columns"
"""An array of this name holds the names of the channels."""
TABLES = (".csv", ".tsv", ".tab", ".gz", ".parquet", ".feather", ".xlsx")
ARRAYS = (".npz", ".npy", ".mat", *HDF5)
LABELS = ("label", "class", "activity", "target", "state", "fault")
IDS = ("recording", "session", "series", "episode", "run", "id", "subject", "user")
TIMES = ("time", "timestamp", "datetime", "date")
MAYBE_TIMES = (
    "t",
    "ts",
    "sec",
    "secs",
    "seconds",
    "ms",
    "elapsed",
    "time_s",
    "time_ms",
    "time (s)",
    "time [s]",
)
"""Names that may be a time or a channel (``t`` is a temperature too): a time where it rises in every recording."""


@dataclass(frozen=True)
class Recording:
    """Rows in their order, float32 ``(rows, channels)``; ``first`` is the place of row 0 in the recording's source.

    Recordings of one ``group`` (a subject, a session) are held out together. ``time`` is in seconds where it was a date.
    """

    name: str
    values: np.ndarray
    label: str | None = None
    split: str | None = None
    group: str = ""
    first: int = 0
    time: np.ndarray | None = None

    def part(self, start: int, stop: int) -> Recording:
        """A run of its rows."""
        time = self.time[start:stop] if self.time is not None else None
        return replace(self, values=self.values[start:stop], first=self.first + start, time=time)


@dataclass
class Found:
    """Recordings with the names of their channels, and what was understood or left out."""

    recordings: list[Recording] = field(default_factory=list)
    channels: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)
    time: str | None = None
    recording: str | None = None


def sheet_recordings(
    sheet: Sheet, options: Mapping[str, Any], channels: Sequence[str] | None, is_long: bool
) -> Found:
    """The recordings of one table: one, or (``is_long``) one for each id and run of one label."""
    found = Found(time=sheet.usual(options.get("time"), TIMES), notes=list(sheet.notes))
    label = sheet.usual(options.get("label"), LABELS, "label") if is_long else None
    # One recording has no column of ids, unless that is said.
    found.recording = sheet.usual(options.get("recording"), IDS if is_long else ())
    if found.time is None and channels is None:
        found.time = _rising(sheet, found.recording, found.notes)
    if channels is None:
        channels = _channels(sheet, {found.time, label, found.recording}, found.notes)
    missing = [name for name in channels if name not in sheet.columns]
    if missing:
        raise DataError(
            f"{sheet.name}: no column {missing[0]!r}; it has {', '.join(list(sheet.columns)[:30])}"
        )
    with np.errstate(over="ignore"):  # becomes infinite, which is refused by row
        values = np.stack([sheet.numbers(name) for name in channels], axis=1).astype(np.float32)
    time = sheet.times(found.time) if found.time else None
    found.channels = tuple(channels)
    name = Path(sheet.name).stem
    whole = Recording(name, values, group=name, time=time)
    if label is None and found.recording is None:
        found.recordings = [whole]
        return found
    keys = [
        tuple(str(sheet.columns[one][row]).strip() if one else None for one in (found.recording, label))
        for row in range(len(values))
    ]
    starts = [row for row in range(len(keys)) if row == 0 or keys[row] != keys[row - 1]]
    for start, stop in zip(starts, [*starts[1:], len(keys)], strict=True):
        identity, kind = keys[start]
        part = whole.part(start, stop)
        found.recordings.append(replace(part, name=identity or name, group=identity or name, label=kind))
    if is_long:
        ids = f", recordings column {found.recording!r}" if found.recording else ", one recording"
        timed = f", time column {found.time!r}" if found.time else ""
        found.notes.append(f"labels are column {label!r}{ids}{timed}; channels: {', '.join(channels)}")
    return found


def _rising(sheet: Sheet, recording: str | None, notes: list[str]) -> str | None:
    """A column that may be the time, where it rises in each recording; what it was taken for is noted."""
    name = sheet.usual(None, MAYBE_TIMES)
    if name is None:
        return None
    try:
        steps = np.diff(sheet.times(name))
    except DataError:
        return None
    if recording is not None:
        steps = steps[np.asarray(sheet.columns[recording])[1:] == np.asarray(sheet.columns[recording])[:-1]]
    if len(steps) and (steps > 0).all():
        notes.append(f"column {name!r} is taken for the time, since it rises in every recording")
        return name
    notes.append(
        f"column {name!r} is a channel, since it does not always rise; time={name!r} makes it the time"
    )
    return None


def _channels(sheet: Sheet, other: set[str | None], notes: list[str]) -> list[str]:
    channels, texts, commas = [], [], []  # type: tuple[list[str], list[str], list[str]]
    for name in sheet.columns:
        if name in other:
            continue
        try:
            sheet.numbers(name)
            channels.append(name)
            commas += [name] if has_decimal_commas([str(one).strip() for one in sheet.columns[name]]) else []
        except DataError as failure:
            # A single bad cell is a mistake in a channel; a column of texts is something else.
            values = [str(one).strip().replace(",", ".") for one in sheet.columns[name][:100]]
            if sum(is_number(one) for one in values) > len(values) / 2:
                raise failure from None
            texts.append(name)
    if commas:
        notes.append(f"{sheet.name}: commas are decimal points in {named(commas)}")
    if texts:
        notes.append(f"{sheet.name}: columns of text are left out: {', '.join(texts)}")
    if not channels:
        raise DataError(f"{sheet.name}: no column of numbers")
    return channels


def named_arrays(path: Path, unread: list[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every array that may be a recording; the names of channels come as ``columns``.

    Where some are named train_ and test_, the others are none. ``unread`` collects the names of what is left out.
    """
    unread = [] if unread is None else unread
    with open_arrays(path) as reader:
        prefixed = [name for name in reader.names if _parsed(name)[0]]
        for name in reader.names:
            if prefixed and name not in (*prefixed, CHANNELS):
                unread.append(name)
                continue
            try:
                yield name, reader.read(name)
            except NotRows:
                if prefixed:
                    raise
                unread.append(name)


def _parsed(name: str) -> tuple[str | None, str]:
    """(split, rest) of a name such as train_walk_1; files held out for a test are validation here.

    >>> _parsed("test_walk_1"), _parsed("stand_up")
    (('validation', 'walk_1'), (None, 'stand_up'))
    """
    match = NAME.match(name)
    split = _split_of(match[1]) if match and match[1] else None
    return (split, match[2]) if match and split else (None, name)


def _split_of(word: str) -> str | None:
    split = split_of_word(word)
    return VALIDATION if split == TEST else split


def array_of(values: Any, name: str) -> np.ndarray:
    """A recording as float32 ``(rows, channels)``; one axis is one channel. Raises `DataError`."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} has type {array.dtype}; expected numbers")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise DataError(f"{name} has shape {array.shape}; expected (rows, channels)")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def read(path: Path, options: Mapping[str, Any]) -> Found:
    """Every recording of a file or folder, with its label and, where names say it, its split."""
    if path.is_file() and path.suffix.lower() not in ARRAYS:
        return sheet_recordings(sheet_of(path, options["header"]), options, None, is_long=True)
    if path.is_file() or any(path.glob("*.npy")):
        return _of_arrays(path, options)
    return _of_folder(path, options)


def of_memory(given: Any, options: Mapping[str, Any]) -> Found:
    """Recordings of a dictionary of arrays, named as in a file, or of one long frame. Raises `DataError`."""
    if hasattr(given, "columns"):
        sheet = Sheet("the table", {str(name): np.asarray(given[name]) for name in given.columns})
        return sheet_recordings(sheet, options, None, is_long=True)
    if not isinstance(given, Mapping) or not given:
        raise DataError(
            "the recordings: expected a frame, or a dictionary of arrays such as {'walk_1': array}"
        )
    found = Found()
    for name, values in given.items():
        values = array_of(values, f"the recordings: {str(name)!r}")
        found.recordings.append(Recording(str(name), values, group=str(name)))
    _label_by_name(found, options["numbered"])
    return found


def _of_arrays(path: Path, options: Mapping[str, Any]) -> Found:
    found, unread = Found(), []  # type: tuple[Found, list[str]]
    for name, array in named_arrays(path, unread):
        if name == CHANNELS:
            found.channels = tuple(str(one) for one in array)
        elif array.dtype.kind in "biuf" or _parsed(name)[0]:
            values = array_of(array, f"{path.name}: {name!r}")
            found.recordings.append(Recording(name, values, group=name))
        else:
            unread.append(name)
    splits = [_parsed(one.name)[0] for one in found.recordings]
    if not splits or (any(splits) and "train" not in splits):
        names = ", ".join([*(one.name for one in found.recordings), *unread][:20])
        raise DataError(f"{path.name}: no array named train_CLASS or CLASS_NUMBER; it has {names or 'none'}")
    if unread:
        found.notes.append(f"arrays that are no recordings are left out: {named(unread, 10)}")
    _label_by_name(found, options["numbered"])
    return found


def _of_folder(folder: Path, options: Mapping[str, Any]) -> Found:
    """Tables named as arrays are, or class folders of tables, for each split where there are such folders.

    Folders around everything are passed by. Raises `DataError`.
    """
    files = sorted(
        one
        for one in folder.rglob("*")
        if one.is_file()
        and one.suffix.lower() in (*TABLES, ".npy")
        and not any(part.startswith(".") for part in one.relative_to(folder).parts)
    )
    if not files:
        raise DataError(f"{folder}: no recordings ({', '.join(TABLES)}, .npy)")
    part = next((part for one in files if (part := partition_of(one.relative_to(folder).as_posix()))), None)
    if part is not None:
        raise DataError(
            f"{folder}: the folder {part[0]!r} is a part of a table, no class of recordings; read it with "
            "pandas.read_parquet, and give the frame"
        )
    while len({one.relative_to(folder).parts[0] for one in files}) == 1 and all(
        len(one.relative_to(folder).parts) > 2 for one in files
    ):
        folder /= files[0].relative_to(folder).parts[0]
    found, said = Found(), False
    for file in files:
        parts = file.relative_to(folder).parts
        where = str(file.relative_to(folder).with_suffix(""))
        split = _split_of(parts[0]) if len(parts) > 1 else None
        folders = parts[1:-1] if split else parts[:-1]
        label = folders[0] if folders else None
        if file.suffix.lower() == ".npy":
            values = array_of(next(a for n, a in named_arrays(file.parent) if n == file.stem), where)
            one = Recording(where, values)
        else:
            read = sheet_of(file, options["header"])
            sheet = Sheet(
                where, read.columns, () if said else read.notes
            )  # what is said of one is true of many
            said |= bool(read.notes)
            time = found.time if found.time in sheet.columns else options["time"]
            got = sheet_recordings(sheet, {"time": time}, found.channels, is_long=False)
            found.channels, found.time = got.channels, got.time
            found.notes += [note for note in got.notes if note not in found.notes]
            one = got.recordings[0]
        found.recordings.append(replace(one, name=where, group=where, label=label, split=split))
    splits = {one.split for one in found.recordings}
    if "validation" in splits and "train" not in splits:
        raise DataError(
            f"{folder}: no train folder; it has {', '.join(one.name for one in found.recordings[:5])}"
        )
    labelled = [one for one in found.recordings if one.label is not None]
    if not labelled:
        _label_by_name(found, options["numbered"])
    elif len(labelled) < len(found.recordings):
        loose = next(one.name for one in found.recordings if one.label is None)
        raise DataError(f"{folder}: {loose} lies beside class folders; move it into one of them")
    return found


def _label_by_name(found: Found, numbered: bool | None) -> None:
    """SPLIT_CLASS_NUMBER: a number at the end counts the recordings of a class, unless only one class would be left."""
    # In the folder of a split, the file's own name says the class.
    names = [Path(one.name).name if one.split else one.name for one in found.recordings]
    parsed = [
        (one.split or _parsed(name)[0], _parsed(name)[1])
        for one, name in zip(found.recordings, names, strict=True)
    ]
    kinds = {rest: NUMBER.match(rest) for _, rest in parsed}
    short = {rest: match[1] if match else rest for rest, match in kinds.items()}
    if numbered is None:
        numbered = len(set(short.values())) > 1
    found.recordings = [
        replace(one, label=short[rest] if numbered else rest, split=split)
        for one, (split, rest) in zip(found.recordings, parsed, strict=True)
    ]


def check(found: Found, file: str) -> None:
    """Raise `DataError` where recordings have different channels, or there is one class only."""
    counts: dict[int, str] = {}
    for one in found.recordings:
        counts.setdefault(one.values.shape[1], one.name)
    if len(counts) > 1:
        named = ", ".join(f"{name!r} has {count}" for count, name in counts.items())
        raise DataError(f"{file}: recordings have {sorted(counts)} channels ({named}); expected one number")
    if found.channels is not None and len(found.channels) != next(iter(counts)):
        raise DataError(
            f"{file}: {len(found.channels)} names of channels in {CHANNELS!r}, but recordings have {next(iter(counts))}"
        )
    labels = sorted({str(one.label) for one in found.recordings})
    if len(labels) < 2:
        raise DataError(
            f"{file}: one class only ({labels[0]!r}); expected at least two (numbered=False makes numbers part of names)"
        )


def named(values: Iterable[str], most: int = 5) -> str:
    """A few of them in words."""
    shown = list(values)
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "")
