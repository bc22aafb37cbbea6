"""The trainings of a compression job, several of them side by side: each in a child, with its share of the cores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.compression.quantization.formats import PRECISIONS
from lepton_kit.data.prepared import PreparedData
from lepton_kit.deploy.report.job_file import Job
from lepton_kit.deploy.report.search import Trunk
from lepton_kit.errors import CompressionError
from lepton_kit.machine import devices
from lepton_kit.processes.isolated import Call

LANES = 4
"""So many trainings side by side at the most, because each holds the data and a model in memory."""
LANE_BYTES = 1_500_000_000
"""What a training takes beside its data: TensorFlow, the model, its moments (2026-11, rounded up)."""
CONTROL = "control"
MOST_EPOCHS = 8
"""A thin model trains at most so many times the epochs of the whole one (our choice, 2026-11)."""


@dataclass(frozen=True)
class Task:
    """One training: what it makes, in words, and what is removed or rounded meanwhile."""

    name: str
    path: Path
    changes: dict[str, Any] = field(default_factory=dict)

    def epochs(self, whole: int) -> int:
        """Its epochs where the model with all channels trains for ``whole``: as many times more as fewer channels are left.

        A step costs about the square of what is left, so the training still costs less than that of the whole model.

        >>> task = Task("structured-80", Path("a.keras"), {"structured": 0.8})
        >>> task.epochs(4), Task("sparse-80", Path("b.keras"), {"sparsity": 0.8}).epochs(4)
        (20, 4)
        """
        left = 1.0 - (self.changes.get("structured") or 0.0)
        return round(whole / max(left, 1 / MOST_EPOCHS))


class Tuner:
    """Trains what variants are made from, each once, and remembers what was said of it."""

    def __init__(self, job: Job, call: Call, tell: Callable[[str], None], model: Path, data: PreparedData):
        self.job, self.call, self.tell, self.model = job, call, tell, model
        self.lanes = lanes_of(devices.usable_cores(), devices.memory()[1], _bytes_of(data))
        self.done: dict[Path, dict[str, Any] | CompressionError] = {}

    def path(self, trunk: Trunk, precision: str = "") -> Path:
        """Where what is trained for a trunk, or for a number format of it, lies."""
        return Path(self.job.folder) / f"{trunk.variant(precision) if precision else trunk.name}.keras"

    @property
    def control(self) -> Task:
        """The model as it came, trained as long."""
        return Task(CONTROL, Path(self.job.folder) / "control.keras")

    def tasks(self, trunk: Trunk, precisions: Iterable[str]) -> list[Task]:
        """All trainings of a trunk: of its weights, and anew for every number format that is trained with rounding."""
        shares = {"sparsity": trunk.sparsity or None, "structured": trunk.structured or None}
        found = [] if trunk == Trunk() else [Task(trunk.name, self.path(trunk), shares)]
        for precision in precisions:
            bits = PRECISIONS[precision].trained_bits
            if bits is not None:
                name = trunk.variant(precision)
                found.append(Task(name, self.path(trunk, precision), {**shares, "bits": bits}))
        return found

    def train(self, tasks: Iterable[Task]) -> None:
        """Do those that are not done yet; with the first of all trainings goes that of the control."""
        wanted = [task for task in tasks if task.path not in self.done]
        if wanted and self.control.path not in self.done:
            wanted.append(self.control)
        if not wanted:
            return
        lanes = min(self.lanes, len(wanted))
        threads = max(1, devices.usable_cores() // lanes)
        with ThreadPoolExecutor(lanes) as pool:
            found = list(pool.map(lambda task: self._train(task, threads), wanted))
        self.done |= {task.path: said for task, said in zip(wanted, found, strict=True)}

    def said(self, path: Path) -> dict[str, Any]:
        """What a training has said. Raises the `CompressionError` that ended it."""
        found = self.done[path]
        if isinstance(found, CompressionError):
            raise found
        return found

    def _train(self, task: Task, threads: int) -> dict[str, Any] | CompressionError:
        told = "control: the same extra training without compression"
        epochs = task.epochs(self.job.fine_tune_epochs)
        self.tell(told if task.name == CONTROL else f"fine-tuning {task.name}, {epochs} epochs")
        try:
            said: dict[str, Any] = self.call(
                "lepton_kit.deploy.report.tune:fine_tune",
                model=str(self.model),
                data=self.job.data,
                output=str(task.path),
                epochs=epochs,
                seed=self.job.seed,
                pattern=self.job.pattern,
                keep=list(self.job.skip),
                learning_rate=self.job.learning_rate,
                threads=threads,
                **task.changes,
            )
        except CompressionError as failure:
            return failure
        if epochs != self.job.fine_tune_epochs:
            said["notes"].append(f"fine-tuned for {epochs} epochs, as it has fewer channels")
        return said


def lanes_of(cores: int, free_bytes: int, data_bytes: int) -> int:
    """How many trainings run side by side: one a core, as far as memory goes, and no more than four.

    >>> lanes_of(2, 8 * 10**9, 10**9), lanes_of(16, 64 * 10**9, 10**9), lanes_of(8, 10**9, 10**9)
    (2, 4, 1)
    """
    fit = free_bytes // (LANE_BYTES + 2 * data_bytes)
    return max(1, min(cores, LANES, fit))


def _bytes_of(data: PreparedData) -> int:
    return sum(math.prod(part.shape) * np.dtype(part.dtype).itemsize for _, _, part in data.train.arrays())
