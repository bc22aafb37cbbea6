"""What a series source learned from its training recordings: new recordings become windows as theirs did."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import PositiveInt

from lepton_kit.data.preprocessing import Encoded, Preprocessing
from lepton_kit.data.series.gaps import breaks, holes, is_other_speed, regular, step_of
from lepton_kit.data.series.recordings import (
    ARRAYS,
    CHANNELS,
    TABLES,
    Found,
    Recording,
    array_of,
    named_arrays,
    sheet_recordings,
)
from lepton_kit.data.series.sheets import Sheet, sheet_of
from lepton_kit.errors import DataError

LEFT_OUT = "columns that no training recording has are left out"


class WindowsPreprocessing(Preprocessing):
    """Recordings of ``(rows, channels)`` become float32 windows ``(length, channels)`` of mean 0 and deviation 1.

    Windows begin every ``stride`` rows. With ``mask`` there is a last channel: 1 for a row, 0 for what pads a recording
    that is shorter than a window.

    >>> plain = WindowsPreprocessing(length=2, stride=2, mean=(1.0,), deviation=(2.0,))
    >>> found = plain.encode(np.array([[1.0], [3.0], [5.0], [7.0]]))
    >>> found.names, found.x[:, :, 0].tolist()
    (('input[0:2]', 'input[2:4]'), [[0.0, 1.0], [2.0, 3.0]])
    """

    kind: Literal["windows"] = "windows"
    length: PositiveInt
    stride: PositiveInt
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    channels: tuple[str, ...] | None = None
    mask: bool = False
    gaps: Literal["refuse", "split", "interpolate"] = "refuse"
    time: str | None = None
    """The column of times."""
    step: float | None = None
    """The usual time between two rows."""
    recording: str | None = None
    """The column that tells recordings apart."""
    header: bool | int = True
    """Whether the first line of a table names its columns."""

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Rows of a recording, float32 ``(rows, channels)``, standardised; padded to a window, and with the mask."""
        with np.errstate(over="ignore"):  # becomes infinite, which is a problem of its windows
            rows = np.asarray((values - np.array(self.mean)) / np.array(self.deviation), np.float32)
        if not self.mask:
            return rows
        count = max(len(rows), self.length)
        padded = np.zeros((count, rows.shape[1] + 1), np.float32)
        padded[: len(rows), :-1], padded[: len(rows), -1] = rows, 1
        return padded

    def windows(self, rows: np.ndarray, stride: int) -> np.ndarray:
        """Windows of scaled rows, ``(windows, length, channels)``, without a copy."""
        view = np.lib.stride_tricks.sliding_window_view(rows, self.length, axis=0)
        return view[::stride].transpose(0, 2, 1)

    def pieces(self, raw: Any, rows: int = 1024) -> Iterator[Encoded]:
        """A recording or several (arrays, frames, files, a dictionary by name) as windows that say where they begin.

        A window with a missing value or over a gap in time is a problem of its own, and so is a recording that is
        shorter than a window. Raises `DataError` for other channels than those of training.
        """
        for recording, notes in self._recordings(raw):
            yield from self._of_recording(recording, notes, rows)

    def count(self, raw: Any) -> int | None:
        """How many windows there are, where that is known before they are read."""
        if isinstance(raw, np.ndarray) and raw.ndim == 2:
            return max(1, (len(raw) - self.length) // self.stride + 1)
        return None

    def _of_recording(self, recording: Recording, notes: list[str], rows: int) -> Iterator[Encoded]:
        own = step_of(recording, "input")
        step = (
            own if self.step is None else self.step
        )  # what a gap is and how it is filled goes by that of training
        if is_other_speed(own, self.step) and self.gaps != "interpolate":
            notes = [*notes, f"one row comes every {own:g}, in training every {self.step:g}: another speed"]
        bad: dict[int, str] = {}
        if self.gaps == "interpolate":
            whole, filled = regular(recording, "interpolate", step, "input")
            recording = whole[0]
            notes = [*notes, "rows that are missing are filled along straight lines"] if filled else notes
        else:
            bad |= {
                int(row): f"no passage of time like in training before row {row}"
                for row in breaks(recording, step)
            }
        jumps = set(bad)
        for row in holes(recording):
            bad[int(row)] = f"row {row} has a value that is missing or infinite"
        values = self.scaled(recording.values)
        for row in np.flatnonzero(~np.isfinite(values).all(axis=1)):
            bad.setdefault(int(row), f"row {row} has a value too far from training for a float32 number")
        if len(values) < self.length:
            why = f"{len(values)} rows; a window needs {self.length}"
            yield Encoded((f"{recording.name}[0:{len(values)}]",), None, np.arange(0), {0: why})
            return
        view = self.windows(values, self.stride)
        places = sorted(bad)
        for first in range(0, len(view), rows):
            count = min(rows, len(view) - first)
            starts = (first + np.arange(count)) * self.stride
            problems = {}
            for place, start in enumerate(starts.tolist()):
                # A jump before the first row of a window is none inside it.
                inside = [
                    row
                    for row in _between(places, start, start + self.length)
                    if row > start or row not in jumps
                ]
                if inside:
                    problems[place] = bad[inside[0]]
            good = np.array([place for place in range(count) if place not in problems], np.int64)
            stops = np.minimum(starts + self.length, len(recording.values))
            names = tuple(
                f"{recording.name}[{a}:{b}]" for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
            )
            x = np.ascontiguousarray(view[first : first + count][good]) if len(good) else None
            said = dict.fromkeys(notes, count)
            if self.mask and len(recording.values) < self.length:
                said["shorter than a window, so padded; the last channel says where"] = count
            yield Encoded(names, x, good, problems, said)

    def _recordings(self, raw: Any) -> Iterator[tuple[Recording, list[str]]]:
        if isinstance(raw, Mapping):
            for name, one in raw.items():
                yield from self._one(one, str(name))
        elif isinstance(raw, str | os.PathLike):
            yield from self._of_path(Path(raw))
        elif isinstance(raw, np.ndarray) and raw.ndim == 3:
            for place, one in enumerate(raw):
                yield from self._one(one, str(place))
        elif isinstance(raw, list | tuple) and len(raw) and not np.isscalar(raw[0]) and not _is_rows(raw):
            for place, one in enumerate(raw):
                if isinstance(one, str | os.PathLike):
                    yield from self._of_path(Path(one))
                else:
                    yield from self._one(one, str(place))
        else:
            yield from self._one(raw, "input")

    def _one(self, value: Any, name: str) -> Iterator[tuple[Recording, list[str]]]:
        if hasattr(value, "columns"):
            sheet = Sheet(name, {str(one): np.asarray(value[one]) for one in value.columns})
            yield from self._of_sheet(sheet)
            return
        values = array_of(value, name)
        self._check(values.shape[1], name)
        yield Recording(name, values), []

    def _of_sheet(self, sheet: Sheet) -> Iterator[tuple[Recording, list[str]]]:
        wish = {
            "time": self.time if self.time in sheet.columns else None,
            "recording": self.recording if self.recording in sheet.columns else None,
        }
        if self.time is not None and wish["time"] is None:
            raise DataError(f"{sheet.name}: no column {self.time!r}, which holds the time")
        found: Found = sheet_recordings(sheet, wish, self.channels, is_long=False)
        known = {*(found.channels or ()), self.time, self.recording}
        notes = [LEFT_OUT] if set(sheet.columns) - known else []
        for one in found.recordings:
            self._check(one.values.shape[1], sheet.name)
            yield (one if self.time else replace(one, time=None)), notes

    def _of_path(self, path: Path) -> Iterator[tuple[Recording, list[str]]]:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if path.is_dir() and not any(path.glob("*.npy")):
            files = sorted(one for one in path.rglob("*") if one.suffix.lower() in (*TABLES, ".npz"))
            if not files:
                raise DataError(f"{path}: no recordings ({', '.join((*TABLES, *ARRAYS))})")
            for file in files:
                yield from self._of_path(file)
        elif path.suffix.lower() == ".npy":
            yield from self._one(next(a for n, a in named_arrays(path.parent) if n == path.stem), path.stem)
        elif path.is_dir() or path.suffix.lower() in ARRAYS:
            for name, array in named_arrays(path):
                if name != CHANNELS:
                    yield from self._one(array, name)
        else:
            sheet = sheet_of(path, self.header)
            yield from self._of_sheet(Sheet(path.stem, sheet.columns))

    def _check(self, channels: int, name: str) -> None:
        if channels != len(self.mean):
            shown = f" ({', '.join(self.channels[:20])})" if self.channels else ""
            raise DataError(
                f"{name}: {channels} channels; the training recordings have {len(self.mean)}{shown}"
            )


def _between(places: Sequence[int], start: int, stop: int) -> Sequence[int]:
    from bisect import bisect_left

    return places[bisect_left(places, start) : bisect_left(places, stop)]


def _is_rows(raw: Sequence[Any]) -> bool:
    """Whether a list is the rows of one recording."""
    return (
        isinstance(raw[0], list | tuple)
        and len(raw[0]) > 0
        and np.isscalar(raw[0][0])
        and not isinstance(raw[0][0], str)
    )
