"""The report card: one row a variant, one tagged figure a cell, and what the figures mean in words."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lepton_kit.errors import CompressionError

Origin = Literal["measured", "estimated", "not_run"]

# key -> (heading, unit)
COLUMNS: dict[str, tuple[str, str]] = {
    "score": ("score", ""),
    "difference": ("difference to float", ""),
    "parameters": ("parameters", "numbers"),
    "nonzero_parameters": ("non-zero parameters", "numbers"),
    "file_bytes": ("file size", "bytes"),
    "gzip_bytes": ("gzip size", "bytes"),
    "peak_memory_bytes": ("peak memory", "bytes"),
    "latency_1_one": ("latency, batch 1, one thread", "ms"),
    "latency_32_one": ("latency, batch 32, one thread", "ms"),
    "latency_1_all": ("latency, batch 1, all threads", "ms"),
    "latency_32_all": ("latency, batch 32, all threads", "ms"),
    "throughput": ("throughput", "samples/s"),
    "energy": ("energy per inference", "mJ"),
    "luts": ("LUTs", "cells"),
    "flip_flops": ("flip-flops", "cells"),
    "dsps": ("DSPs", "cells"),
    "cycles": ("latency on the FPGA", "cycles"),
}
SLOWER, SAME = 1.05, 0.1  # ratios within 5 % (10 %) count as noise; our choice, 2026-11


@dataclass(frozen=True)
class Figure:
    """A number with its origin; ``low`` and ``high`` are its interval (95 % of a score, quartiles of a time)."""

    value: float | None
    origin: Origin
    low: float | None = None
    high: float | None = None
    note: str = ""

    @classmethod
    def not_run(cls, why: str) -> Figure:
        """An unknown, shown as unknown."""
        return cls(None, "not_run", note=why)


@dataclass(frozen=True)
class Row:
    """One variant of the model on one target."""

    name: str
    runtime: str
    precision: str = "float32"
    structured: float = 0.0
    sparsity: float = 0.0
    role: Literal["float", "variant", "control"] = "variant"
    target: str = "CPU"
    file: str | None = None
    figures: dict[str, Figure] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None

    def __repr__(self) -> str:
        return f"Row({self.name}, {self.error or ('; '.join(self.flags) or 'no flags')})"

    def get(self, key: str) -> float | None:
        """The value of a figure, or None where it is unknown."""
        figure = self.figures.get(key)
        return None if figure is None else figure.value


@dataclass(frozen=True)
class ReportCard:
    """What every variant cost and gained, measured in one run on this machine.

    ``table()`` and ``figure()`` show it, ``front()`` is the Pareto front, ``best`` the row that a bounded search
    chose, ``save()`` and ``load()`` keep it as ``card.json`` beside the model files.
    """

    rows: tuple[Row, ...]
    metric: str
    higher_is_better: bool
    held_out: int
    settings: dict[str, Any] = field(default_factory=dict)
    best: str | None = None
    trail: tuple[dict[str, Any], ...] = ()
    folder: str | None = None

    def __repr__(self) -> str:
        done = sum(row.error is None for row in self.rows)
        best = f", best {self.best!r}" if self.best else ""
        return f"ReportCard({done} variants, {self.metric} on {self.held_out} held-out samples{best})"

    def __getitem__(self, name: str) -> Row:
        for row in self.rows:
            if row.name == name:
                return row
        raise CompressionError(
            f"no variant {name!r}; the card has {', '.join(row.name for row in self.rows)}"
        )

    def path(self, name: str) -> Path:
        """The model file of a variant."""
        row = self[name]
        if row.file is None or self.folder is None:
            raise CompressionError(f"variant {name!r} has no file" + (f": {row.error}" if row.error else ""))
        return Path(self.folder) / row.file

    @property
    def reference(self) -> Row | None:
        """Float LiteRT, which every variant is compared with; None if it could not be made."""
        return next((row for row in self.rows if row.name == "float32" and row.error is None), None)

    def front(self, cost: str = "latency_1_one") -> tuple[Row, ...]:
        """The rows that no other row beats in both score and ``cost`` (a column), cheapest first."""
        if cost not in COLUMNS:
            raise CompressionError(f"cost: got {cost!r}; expected one of {', '.join(COLUMNS)}")
        known = [row for row in self.rows if row.get("score") is not None and row.get(cost) is not None]
        points = [(self._worth(row), row.get(cost)) for row in known]
        return tuple(known[index] for index in pareto(points))

    def _worth(self, row: Row) -> float:
        value = row.get("score")
        return value if self.higher_is_better else -value

    def table(self, origins: bool = False) -> Any:
        """A pandas table, one row a variant; with ``origins`` a second one that holds every figure's tag."""
        from lepton_kit.compression.show import table

        return table(self, origins)

    def figure(self, cost: str = "latency_1_one") -> Any:
        """A plotly figure: score against ``cost``, with intervals, and the Pareto front."""
        from lepton_kit.compression.show import card_figure

        return card_figure(self, cost)

    def tensor_errors(self, name: str) -> Any:
        """A pandas table of what number format did to every weight tensor of a variant; the largest error first."""
        from lepton_kit.compression.tensors import tensor_errors

        row = self[name]
        float_name = name.removesuffix(row.precision) + "float32"
        return tensor_errors(self.path(float_name), self.path(name))

    def to_markdown(self) -> str:
        """The card as text: table, flags, and how it was measured."""
        from lepton_kit.compression.show import markdown

        return markdown(self)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def save(self, folder: str | Path) -> Path:
        """Write ``card.json`` and ``card.md``, and copy the model files there. Returns the folder."""
        import shutil

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if self.folder and Path(self.folder).resolve() != folder.resolve():
            for row in self.rows:
                if row.file and (Path(self.folder) / row.file).is_file():
                    shutil.copy2(Path(self.folder) / row.file, folder / row.file)
        values = asdict(replace(self, folder=None))
        for name, text in (("card.md", self.to_markdown()), ("card.json", json.dumps(values, indent=1))):
            temporary = folder / f"{name}.part"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, folder / name)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> ReportCard:
        """Read what `save` wrote. Raises `CompressionError` if it is missing or broken."""
        path = Path(folder) / "card.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            rows = tuple(
                Row(
                    **{
                        **row,
                        "figures": {key: Figure(**figure) for key, figure in row["figures"].items()},
                        "flags": tuple(row["flags"]),
                        "notes": tuple(row["notes"]),
                    }
                )
                for row in values.pop("rows")
            )
            trail = tuple(values.pop("trail"))
            return cls(**{**values, "rows": rows, "trail": trail, "folder": str(folder)})
        except (OSError, ValueError, KeyError, TypeError) as failure:
            raise CompressionError(f"{path}: not a report card ({failure})") from None


# ------------------------------------------------------------------ decisions
def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (worth, cost) that no other point beats: more worth and less cost are better.

    Cheapest first; of equal points the first one stays.

    >>> pareto([(0.9, 10.0), (0.95, 20.0), (0.8, 15.0)])
    [0, 1]
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][1], -points[index][0], index))
    front, best = [], -math.inf
    for index in order:
        if points[index][0] > best:
            front.append(index)
            best = points[index][0]
    return front


def flags(row: Row, rows: Sequence[Row], *, higher_is_better: bool = True) -> tuple[str, ...]:
    """What a reader must not overlook about a row, in words."""
    reference = next((other for other in rows if other.name == "float32" and other.error is None), None)
    if row.error or reference is None or row.role == "float":
        return ()
    said = []
    size, time = _ratio(row, reference, "file_bytes"), _ratio(row, reference, "latency_1_one")
    if time is not None and _overlap(row, reference, "latency_1_one"):
        time = 1.0  # the middle halves of the two timings overlap: no difference that this run can show
    if size and time and size < 1 - SAME and time > SLOWER:
        said.append(f"smaller but slower: {1 / size:.1f} × smaller, {time:.2f} × the latency of float LiteRT")
    if size and time and size >= 1 and time >= 1 and row.role != "control" and not row.sparsity:
        said.append("no gain: neither smaller nor faster than float LiteRT")
    if (
        size
        and time
        and size < 1
        and row.precision in ("float16", "int4")
        and time <= SLOWER
        and time > 1 - SAME
    ):
        said.append("smaller, not faster")
    if (
        row.sparsity > 0
        and row.precision == "float32"
        and not row.structured
        and time
        and abs(time - 1) <= SAME
    ):
        zip_ratio = _ratio(row, reference, "gzip_bytes")
        said.append(
            f"{row.sparsity:.0%} zeros do not make it faster ({time:.2f} × the latency)"
            + (f"; only the compressed file shrinks, to {zip_ratio:.0%}" if zip_ratio else "")
        )
    said += _worse_than_small_float(row, rows, time, higher_is_better)
    said += _worse_than_float(row, higher_is_better)
    said += _control(row, rows, higher_is_better)
    return tuple(said)


def _ratio(row: Row, reference: Row, key: str) -> float | None:
    mine, other = row.get(key), reference.get(key)
    return mine / other if mine is not None and other else None


def _overlap(row: Row, reference: Row, key: str) -> bool:
    """Whether the intervals of two figures, where both have one, share a point."""
    mine, other = row.figures.get(key), reference.figures.get(key)
    if mine is None or other is None or None in (mine.low, mine.high, other.low, other.high):
        return False
    return mine.low <= other.high and other.low <= mine.high


def _worse_than_small_float(row: Row, rows: Sequence[Row], time: float | None, higher: bool) -> list[str]:
    if time is None or time >= 1 or row.get("score") is None or row.precision == "float32":
        return []
    sign = 1 if higher else -1
    for other in rows:
        if other.precision != "float32" or other.runtime != "LiteRT" or other.error or other.role == "float":
            continue
        if other.get("score") is None or other.get("latency_1_one") is None:
            continue
        if (
            sign * (other.get("score") - row.get("score")) > 0
            and other.get("latency_1_one") <= row.get("latency_1_one")
            and (other.get("file_bytes") or math.inf) <= (row.get("file_bytes") or math.inf)
        ):
            return [
                f"faster but worse than {other.name!r}, a float model that is as small, as fast and scores better"
            ]
    return []


def _worse_than_float(row: Row, higher: bool) -> list[str]:
    figure = row.figures.get("difference")
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return []
    worse = figure.high < 0 if higher else figure.low > 0
    return [f"worse than float beyond chance ({figure.value:+.4f})"] if worse else []


def _control(row: Row, rows: Sequence[Row], higher: bool) -> list[str]:
    control = next(
        (other for other in rows if other.role == "control" and other.get("score") is not None), None
    )
    mine, difference = row.get("score"), row.get("difference")
    trained = row.sparsity or row.structured or row.precision.startswith("qat")
    if control is None or row.role == "control" or not trained or mine is None:
        return []
    sign = 1 if higher else -1
    gained = sign * (difference or 0) > 0 and sign * (control.get("score") - mine) >= 0
    return (
        ["its gain comes from the extra training: the control, trained as long, scores as well"]
        if gained
        else []
    )
