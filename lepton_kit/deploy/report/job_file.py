"""The files by which a compression job is known: what it has to do, and how far it is."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROGRESS = "progress.jsonl"


@dataclass(frozen=True)
class Job:
    """What to do, as it stands in ``job.json``. Paths are absolute; lists hold every value to try."""

    folder: str
    model: str
    data: str
    quantize: tuple[str, ...]
    sparsity: tuple[float, ...] = ()
    structured: tuple[float, ...] = ()
    pattern: str = "unstructured"
    keep_float: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    max_accuracy_drop: float | None = None
    cost: str = "balanced"
    refine: bool = False
    fine_tune_epochs: int = 3
    learning_rate: float = 2e-3
    calibration: str | None = None
    calibration_size: int = 200
    repetitions: int = 30
    memory: bool = True
    energy: bool = True
    seed: int = 0
    control_run: str | None = None
    gpu: str | None = None
    metric: str = "auto"

    @classmethod
    def load(cls, path: str | Path) -> Job:
        """Read ``job.json``."""
        values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        fields: Any = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fields)

    def save(self, path: str | Path) -> None:
        """Write ``job.json``."""
        Path(path).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def add_progress(folder: str | Path, text: str, **more: Any) -> None:
    """Add a line to the job's progress."""
    with open(Path(folder) / PROGRESS, "a", encoding="utf-8") as stream:
        stream.write(json.dumps({"time": time.time(), "text": text, **more}) + "\n")
