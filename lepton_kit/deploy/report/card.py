"""The report card: every variant of a model with what it cost and gained, kept, compared and shown."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lepton_kit.data.preprocessing import SIDECAR
from lepton_kit.deploy.report import show
from lepton_kit.deploy.report.rows import COLUMNS, Figure, Row
from lepton_kit.deploy.report.saving import same_for_less
from lepton_kit.deploy.report.still import front_picture
from lepton_kit.drawing import Picture
from lepton_kit.errors import CompressionError, writing
from lepton_kit.models.answers import FILE as ANSWERS
from lepton_kit.rundir.reading import read_mapping
from lepton_kit.training import sums


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
        points = [(self._worth(row), row.known(cost)) for row in known]
        return tuple(known[index] for index in pareto(points))

    def _worth(self, row: Row) -> float:
        value = row.known("score")
        return value if self.higher_is_better else -value

    def table(self, origins: bool = False) -> Any:
        """A pandas table, one row a variant; with ``origins`` a second one that holds every figure's tag."""
        return show.table(self, origins)

    def figure(self, cost: str = "latency_1_one") -> Any:
        """A plotly figure: score against ``cost``, with intervals, and the Pareto front."""
        return show.card_figure(self, cost)

    def saving(self, cost: str = "energy") -> str | None:
        """In a sentence which variant keeps the score of float LiteRT within its interval for the least energy; None if unknown."""
        return same_for_less(self.rows, self.reference, self.metric, cost, self.higher_is_better)

    def energy(self, prices: str | Path | None = None) -> Any:
        """A pandas table, a row a variant: joules of 1,000 predictions with their interval and tag, electricity, ``worth_it``.

        That is above what the machine takes without work. ``prices`` is a YAML file as of `Run.cost`; ``worth_it`` marks
        the Pareto front of score and energy. Raises `ConfigError` for prices without electricity.
        """
        return show.energy_table(self, prices)

    def tensor_errors(self, name: str) -> Any:
        """A pandas table of what number format did to every weight tensor of a variant; the largest error first."""
        from lepton_kit.compression.quantization.tensors import tensor_errors

        row = self[name]
        float_name = name.removesuffix(row.precision) + "float32"
        return tensor_errors(self.path(float_name), self.path(name))

    def picture(self, cost: str = "latency_1_one") -> Picture | None:
        """`figure` as a still picture that needs no JavaScript, with its words; None where no figure is known."""
        return front_picture(self, cost)

    def to_csv(self) -> str:
        """The table as CSV: a line a variant, units in the headings, intervals as columns of their own."""
        return str(self.table().to_csv())

    def to_json(self) -> str:
        """The whole card as JSON, as ``card.json`` holds it."""
        return json.dumps(asdict(replace(self, folder=None)), indent=1)

    def to_markdown(self) -> str:
        """The card as text: table, flags, and how it was measured."""
        return show.markdown(self)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def save(self, folder: str | Path) -> Path:
        """Write ``card.json`` and ``card.md``, and copy the model files and their preprocessing. Returns the folder.

        Raises `ConfigError` where it can't be written.
        """
        folder = Path(folder)
        with writing("folder", folder):
            self._save(folder)
        return folder

    def _save(self, folder: Path) -> None:
        import shutil

        folder.mkdir(parents=True, exist_ok=True)
        if self.folder and Path(self.folder).resolve() != folder.resolve():
            files = [row.file for row in self.rows if row.file]
            names = [name for name in (*files, SIDECAR, ANSWERS) if (Path(self.folder) / name).is_file()]
            sums.check(Path(self.folder), *names)
            for name in names:
                shutil.copy2(Path(self.folder) / name, folder / name)
            sums.note(folder, names)
        for name, text in (("card.md", self.to_markdown()), ("card.json", self.to_json())):
            temporary = folder / f"{name}.part"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, folder / name)

    @classmethod
    def load(cls, folder: str | Path) -> ReportCard:
        """Read what `save` wrote. Raises `CompressionError` if it is missing or broken."""
        path = Path(folder) / "card.json"
        try:
            values = read_mapping(path)
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
