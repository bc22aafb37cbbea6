"""Judges the files of a compression job: predicts held-out samples in children, scores them, and fills in their rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.compression.quantization.formats import PRECISIONS
from lepton_kit.data.prepared import PreparedData, Split, open_folder
from lepton_kit.data.structure import items
from lepton_kit.deploy.report import measure, scoring
from lepton_kit.deploy.report.job_file import Job
from lepton_kit.deploy.report.rows import OWN, Figure, Row
from lepton_kit.deploy.report.yardstick import compiled_metrics, load_outputs, own_score, yardstick
from lepton_kit.deploy.splits import store_samples
from lepton_kit.errors import CompressionError
from lepton_kit.models.description import description
from lepton_kit.processes.isolated import Call

MODULE = "lepton_kit.deploy"


@dataclass(frozen=True)
class Judged:
    """What a card reports on: the files of its samples, its targets and weights, how many there are."""

    inputs: list[list[Any]]
    y: Any
    w: Any
    count: int


class Judge:
    """Scores on held-out samples; with a test split what is reported is on that, and the search still on the others."""

    def __init__(self, job: Job, call: Call, data: PreparedData):
        self.job, self.call = job, call
        self.folder, self.work = Path(job.folder), Path(job.folder) / "work"
        if data.validation is None:
            raise CompressionError("data: got no validation split; compression is judged on held-out samples")
        self.held = data.validation
        self.samples = self.store(self.held, "held")
        self.test = self._test_split()
        self.yardstick = yardstick(Path(job.model), data, job.metric)
        self.has_metrics = bool(compiled_metrics(Path(job.model)))
        self.metric: scoring.Score | None = None
        self.scores: dict[str, scoring.Score] = {}
        self.reported: dict[str, scoring.Score] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._counted: dict[str, list[Any]] = {}

    def store(self, split: Split, name: str) -> list[list[Any]]:
        """The samples of a split as files, each with its input's name or place."""
        home = self.work / name
        home.mkdir(exist_ok=True)
        found = store_samples(split, home)
        if len(found) > 1 and isinstance(found[0][0], int):  # a LiteRT file knows its inputs by name alone
            names = description(
                {"kind": "keras", "path": Path(self.job.model).name}, Path(self.job.model).parent
            )["inputs"]
            found = [[name, path] for name, (_, path) in zip(names, found, strict=True)]
        return found

    def _test_split(self) -> Judged:
        """What the card reports on: the test split where there is one, else the held-out samples."""
        if self.job.test is None:
            return Judged(self.samples, self.held.y, self.held.w, len(self.held))
        test = open_folder(Path(self.job.test)).train
        return Judged(self.store(test, "test"), test.y, test.w, len(test))

    def score(self, row: Row, keras_path: Path) -> Row:
        """The row with its figures. Raises `CompressionError` for a file that can't be judged."""
        path = self.folder / str(row.file)
        facts = self.facts_of(path)
        said = self._predict(path, self.samples, "outputs", keras_path if facts["kernels"] else None)
        noted = self._noted(row, facts)
        noted = replace(noted, notes=(*noted.notes, *said.get("still", ())))
        return self.judged(noted, facts, said.get("departure"))

    def facts_of(self, path: Path) -> dict[str, Any]:
        """Parameters of a file and, of a LiteRT file, how many of its kernels are int8."""
        if path.name not in self._facts:
            kind = "keras_facts" if path.suffix == ".keras" else "file_facts"
            self._facts[path.name] = {
                "kernels": 0,
                **self.call(f"{MODULE}.report.measure:{kind}", path=str(path)),
            }
        return self._facts[path.name]

    def _predict(self, path: Path, inputs: Any, name: str, beside: Path | None = None) -> dict[str, Any]:
        """Outputs into ``NAME.npz``, and with a test split into ``NAME-test.npz``."""
        said: dict[str, Any] = self.call(
            f"{MODULE}.report.measure:predict_file",
            path=str(path),
            inputs=inputs,
            output=str(self.work / f"{name}.npz"),
            beside=None if beside is None else str(beside),
        )
        if self.job.test is not None and not name.endswith("-test"):
            self._predict(path, self.test.inputs, f"{name}-test")
        return said

    def _noted(self, row: Row, facts: dict[str, Any]) -> Row:
        """With a note where the number format reached nothing of the file."""
        rounds = PRECISIONS[row.precision].weight_bits <= 8 and row.runtime == "LiteRT"
        if rounds and not facts["int8_kernels"]:
            text = (
                f"nothing in this file is {row.precision}: the converter left all {facts['kernels']} kernels in float, "
                "as it does with those of fewer than 1,024 weights"
            )
            return replace(row, notes=(*row.notes, text))
        return row

    def judged(self, row: Row, facts: dict[str, Any], departure: float | None, name: str = "outputs") -> Row:
        """The row with its scores, their differences to float, and its sizes."""
        searched = self._scored(name, self.held.y, self.held.w, row.name)
        tested = self.job.test is not None
        reported = self._scored(f"{name}-test", self.test.y, self.test.w, row.name) if tested else searched
        self.metric = self.metric or reported
        self.scores[row.name], self.reported[row.name] = searched, reported
        figures = {"score": Figure(reported.value, "measured", reported.low, reported.high)}
        if "keras" in self.scores:
            figures["difference"] = paired(scoring.difference(reported, self.reported["keras"]))
            relative = self.job.relative if self.job.relative is not None else not reported.higher_is_better
            lost = searched.lost_to(self.scores["keras"], relative=relative)
            figures["lost"] = Figure(lost, "measured", note="as a share" if relative else "")
        if departure is not None and row.precision == "float32":
            figures["departure"] = Figure(departure, "measured")
        for key in ("parameters", "nonzero_parameters"):
            figures[key] = Figure(facts[key], "measured")
        for key, value in measure.sizes(self.folder / str(row.file)).items():
            figures[key] = Figure(value, "measured")
        own = self._own(f"{name}-test" if tested else name, self.test.y)
        return replace(row, figures={**figures, **own[0]}, notes=(*row.notes, *own[1]))

    def _scored(self, name: str, y: Any, w: Any, row: str) -> scoring.Score:
        """The score of stored outputs, by the yardstick or by a metric that the model was compiled with."""
        outputs, masks = load_outputs(self.work / f"{name}.npz")
        if row == "keras":
            self._counted[name] = masks
        counted = self._counted.get(name, [])
        if self.yardstick.own is None:
            return self.yardstick.score(outputs, y, counted, w)
        return own_score(
            self.call, self.yardstick.own, self.job.model, self.work / f"{name}.npz", self._targets(name, y)
        )

    def _targets(self, name: str, y: Any) -> list[list[Any]]:
        files = []
        for place, (key, part) in enumerate(items(y)):
            path = self.work / f"{'test' if name.endswith('-test') else 'held'}-y-{place}.npy"
            if not path.is_file():
                np.save(path, np.asarray(part))
            files.append([key, str(path)])
        return files

    def _own(self, name: str, y: Any) -> tuple[dict[str, Figure], list[str]]:
        """Figures of other outputs and of the metrics that the model was compiled with; a note where they failed."""
        outputs, _ = load_outputs(self.work / f"{name}.npz")
        others = self.yardstick.others(outputs, y, self._counted.get(name, []), self.test.w)
        figures = {
            f"{OWN}{one.metric}": Figure(one.value, "measured", one.low, one.high) for one in others.values()
        }
        if not self.has_metrics:
            return figures, []
        try:
            found = self.call(
                f"{MODULE}.report.yardstick:own_metrics",
                model=self.job.model,
                outputs=str(self.work / f"{name}.npz"),
                targets=self._targets(name, y),
            )
        except CompressionError as failure:
            return figures, [f"its compiled metrics were not computed: {str(failure).splitlines()[0]}"]
        return figures | {f"{OWN}{key}": Figure(one["value"], "measured") for key, one in found.items()}, []


def paired(found: tuple[float, float | None, float | None]) -> Figure:
    """A difference as a figure."""
    return Figure(found[0], "measured", found[1], found[2])
