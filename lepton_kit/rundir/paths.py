"""The one class that knows the file names of a run, and how runs are named, found and listed."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lepton_kit.errors import RunError
from lepton_kit.rundir.reading import read_mapping
from lepton_kit.rundir.status import Status

RUNS_DIR = "LEPTON_RUNS_DIR"
"""The environment variable that names the folder of runs, where none is given."""
TRASH = ".trash"
"""The folder beside runs where deleted ones lie until they are removed for good."""
RESERVE_BYTES = 1 << 16
"""Kept free in a run's folder, so that a run that a full disk ends can still say so."""


@dataclass(frozen=True)
class RunPaths:
    """Every path inside one run directory.

    >>> RunPaths(Path("runs/demo")).events
    PosixPath('runs/demo/events.jsonl')
    """

    root: Path

    @property
    def id(self) -> str:
        """Name of the run's folder."""
        return self.root.name

    @cached_property
    def config(self) -> Path:
        """The run's whole configuration."""
        return self.root / "config.yaml"

    @cached_property
    def status(self) -> Path:
        """What listings read instead of the log."""
        return self.root / "status.json"

    @cached_property
    def labels(self) -> Path:
        """Name, tags and note that were given since its launch, if any."""
        return self.root / "labels.json"

    @cached_property
    def events(self) -> Path:
        """The log: one event in JSON a line."""
        return self.root / "events.jsonl"

    @property
    def control(self) -> Path:
        """Folder of requests to the driver."""
        return self.root / "control"

    @property
    def lock(self) -> Path:
        """The file that a driver locks while it lives."""
        return self.root / "driver.lock"

    @property
    def spark(self) -> Path:
        """Says where a driver awaits the process that has the Spark session, while it does."""
        return self.root / "spark"

    @property
    def reserve(self) -> Path:
        """Room on the disk for a last word when it is full."""
        return self.root / ".reserve"

    @property
    def data(self) -> Path:
        """The data that it trains on, as they were decoded before its launch."""
        return self.root / "data"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, one folder each."""
        return self.root / "checkpoints"

    @property
    def best(self) -> Path:
        """The weights of the best epoch, in the form of a checkpoint."""
        return self.root / "best"

    @property
    def predictions(self) -> Path:
        """Folder of the last validation's counts of true and said classes, where the log has those of some classes alone."""
        return self.root / "predictions"

    def confusion(self, step: int) -> Path:
        """The counts of the validation at this step."""
        return self.predictions / f"step-{step:08d}" / "confusion.npz"

    @property
    def final_model(self) -> Path:
        """The trained model."""
        return self.root / "final" / "model.keras"

    @cached_property
    def compression(self) -> Path:
        """The report card and the models on it, with the log and the lock of the job that makes them."""
        return self.root / "compression"

    @property
    def job_script(self) -> Path:
        """The batch script with which a scheduler starts its driver, if it was submitted to one."""
        return self.root / "job.sh"

    @property
    def control_run(self) -> Path:
        """Names the run that is this one's control: the same training without pruning and rounding."""
        return self.root / "control-run"

    @property
    def logs(self) -> Path:
        """Folder of what driver and workers print."""
        return self.root / "logs"

    @property
    def driver_log(self) -> Path:
        """What the driver prints."""
        return self.logs / "driver.log"

    def worker_log(self, worker: int) -> Path:
        """What a worker prints."""
        return self.logs / f"worker-{worker}.log"

    def create(self) -> None:
        """Make the folder and its sub-folders, readable by their owner alone."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=False)
        for folder in (self.control, self.checkpoints, self.logs):
            folder.mkdir(mode=0o700)

    def read_status(self) -> dict[str, Any]:
        """The last known state; a run that was never started reads as ``{"status": "created"}``."""
        try:
            state = read_mapping(self.status)
            if not isinstance(state.get("status"), str):
                raise ValueError("it names no status")
            return state
        except FileNotFoundError:
            return {"status": Status.CREATED, "cause": None, "driver_pid": None}
        except (OSError, ValueError) as failure:
            raise RunError(f"{self.status}: cannot be read ({failure})") from None

    def read_summary(self, log_bytes: int) -> dict[str, Any] | None:
        """What the driver of an ended run has noted of it, if the log has as many bytes as then; else only the log tells."""
        try:
            state = self.read_status()
            summary = state.get("summary")
            if isinstance(summary, dict) and summary.get("log_bytes") == log_bytes:
                return {"status": state["status"], "cause": state.get("cause"), **summary}
        except RunError:
            pass  # whoever reads the log finds out what is wrong
        return None


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary name in the same folder, then replace; readers see the old text or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def new_run_id(name: str) -> str:
    """A fresh id: the name, the local time, and four random hexadecimal digits."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def runs_folder(runs_dir: str | Path | None = None) -> Path:
    """The folder of runs: the given one, else what ``$LEPTON_RUNS_DIR`` names, else ``runs`` in the current folder."""
    return Path(runs_dir if runs_dir is not None else os.environ.get(RUNS_DIR) or "runs").resolve()


def list_runs(runs_dir: str | Path | None = None) -> list[RunPaths]:
    """All runs of a folder, oldest first."""
    folder = runs_folder(runs_dir)
    if not folder.is_dir():
        return []
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # no run, or one that is being deleted
                if not entry.name.startswith("."):
                    began = os.stat(os.path.join(entry.path, "config.yaml")).st_mtime
                    path = Path(entry.path)
                    found.append((began, entry.name, path.resolve() if entry.is_symlink() else path))
    return [RunPaths(path) for _, _, path in sorted(found)]


def find_run(run: str | Path, runs_dir: str | Path | None = None) -> RunPaths:
    """The run with this id, this unambiguous beginning of an id, this path, or ``"latest"``.

    Raises `RunError` that lists what is there.
    """
    direct = Path(run)
    if (direct / "config.yaml").is_file():
        return RunPaths(direct.resolve())
    known = list_runs(runs_dir)
    if str(run) == "latest" and known:
        return known[-1]
    matches = [paths for paths in known if paths.id == str(run)] or [
        paths for paths in known if str(run) and paths.id.startswith(str(run))
    ]
    if len(matches) == 1:
        return matches[0]
    shown = ", ".join(paths.id for paths in (matches or known)[-8:]) or "no run at all"
    rule = "is the beginning of several runs" if matches else "is no run"
    folder = runs_folder(runs_dir)
    buried = run and any(paths.id.startswith(str(run)) for paths in list_runs(folder / TRASH))
    hint = "; the trash has it: `lepton restore` brings it back" if buried and not matches else ""
    raise RunError(f"{run!s} {rule} in {folder}; there: {shown}{hint}")
