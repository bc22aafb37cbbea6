"""The files of a compression job: what it has to do, and its log and status, which it keeps as a run does."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lepton_kit.deploy.report.goal import LOST, Goal
from lepton_kit.rundir import EventLog, RunPaths, Status
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.rundir.reading import read_mapping


@dataclass(frozen=True)
class Job:
    """What to do, as it stands in ``job.json``. Paths are absolute; lists hold every value to try.

    ``relative`` says whether ``max_drop`` is a share of the float model's score; None: of an error it is. ``target`` is
    a figure of the rows with its limit.
    """

    folder: str
    model: str
    data: str
    quantize: tuple[str, ...]
    sparsity: tuple[float, ...] = ()
    structured: tuple[float, ...] = ()
    pattern: str = "unstructured"
    keep_float: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    max_drop: float | None = None
    relative: bool | None = None
    target: tuple[str, float] | None = None
    cost: str = "balanced"
    refine: bool = False
    fine_tune_epochs: int = 3
    learning_rate: float = 2e-3
    calibration: tuple[Any, ...] | None = None
    calibration_size: int = 200
    repetitions: int = 30
    memory: bool = True
    energy: bool = True
    seed: int = 0
    control_run: str | None = None
    gpu: str | None = None
    metric: str = "auto"
    test: str | None = None

    @property
    def goal(self) -> Goal | None:
        """What its search is for; None: there is none."""
        if self.target is not None:
            return Goal(*self.target)
        return None if self.max_drop is None else Goal(LOST, self.max_drop, self.cost)

    @classmethod
    def load(cls, path: str | Path) -> Job:
        """Read ``job.json``."""
        values: dict[str, Any] = read_mapping(Path(path))
        fields: Any = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fields)

    def save(self, path: str | Path) -> None:
        """Write ``job.json``."""
        Path(path).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


class Record:
    """The one writer of a job's events and of its status file, as a driver is of a run's."""

    def __init__(self, paths: RunPaths):
        self.paths = paths
        self._log = EventLog(paths.events)
        self._lock = threading.RLock()
        self._status = Status.CREATED

    def tell(self, text: str) -> None:
        """Say what the job does now."""
        with self._lock:
            self._log.append("progress", text=text)

    def request(self, verb: str, identity: str, accepted: bool, cause: str | None = None) -> None:
        """Note what became of a client's request."""
        with self._lock:
            self._log.append("request", verb=verb, id=identity, accepted=accepted, cause=cause)

    def status(self, status: Status, cause: str | None = None, error: str | None = None) -> bool:
        """Note a status, and of a failure the class of its error; False if the job has ended already."""
        with self._lock:
            if self._status.is_final:
                return False
            self._status = status
            state = {"status": status, "cause": cause, "driver_pid": os.getpid()}
            self._log.append("status", **state, **({"error": error} if error else {}))
            write_atomically(self.paths.status, json.dumps(state))
            return True
