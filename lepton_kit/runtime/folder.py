"""The one way in which a run comes to be: its folder is filled under a hidden name, renamed, and given to a driver."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from lepton_kit.config import RunConfig
from lepton_kit.errors import FULL, RunError, why_not_written
from lepton_kit.processes.scratch import keep, remove_abandoned
from lepton_kit.rundir import RunPaths, lock, new_run_id
from lepton_kit.rundir.paths import runs_folder, write_atomically
from lepton_kit.runtime.start import start_driver

ABANDONED_SECONDS = 60.0
"""A launch keeps its folder a moment after it has made it; whoever sweeps leaves it that time, many times over."""
_UNFINISHED = re.compile(r"\..+-\d{8}-\d{6}-[0-9a-f]{4}")


def begin(
    name: str,
    runs_dir: str | Path | None,
    fill: Callable[[Path], RunConfig],
    start: Callable[[RunPaths], object] | None = None,
) -> RunPaths:
    """Make the folder of a run and start its driver, or do what ``start`` does instead; whatever fails, no folder is left.

    ``fill`` writes what belongs to the run (model, data, callbacks) into the folder that it is given, and returns the
    configuration. The folder has its name once it is complete. What launches that were killed have left half made is
    removed. Raises `RunError` where the disk is full.
    """
    paths = RunPaths(runs_folder(runs_dir) / new_run_id(name))
    hidden = RunPaths(paths.root.with_name(f".{paths.id}"))
    _sweep(paths.root.parent)
    kept: int | None = None
    try:
        hidden.create()
        kept = keep(hidden.root)
        write_atomically(hidden.config, fill(hidden.root).to_yaml())
        os.rename(hidden.root, paths.root)
        os.close(kept)
        kept = None
        (start or start_driver)(paths)
    except BaseException as failure:
        if kept is not None:
            os.close(kept)
        shutil.rmtree(hidden.root, ignore_errors=True)
        if not lock.held(paths):  # a driver that has it already keeps it
            shutil.rmtree(paths.root, ignore_errors=True)
        if isinstance(failure, OSError) and failure.errno in FULL:
            runs = paths.root.parent
            raise RunError(f"{runs}: the run can't be stored ({why_not_written(failure, runs)})") from None
        raise
    return paths


def _sweep(runs: Path) -> None:
    """Remove folders of runs that a killed process has left under their hidden names."""
    try:
        names = os.listdir(runs)
    except OSError:  # there is none yet
        return
    for name in names:
        if _UNFINISHED.fullmatch(name):
            remove_abandoned(runs / name, ABANDONED_SECONDS)
