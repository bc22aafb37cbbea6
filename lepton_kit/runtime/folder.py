"""The one way in which a run comes to be: its folder is filled under a hidden name, renamed, and given to a driver."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lepton_kit.config import RunConfig
from lepton_kit.errors import FULL, RunError, why_not_written
from lepton_kit.rundir import RunPaths, lock, new_run_id
from lepton_kit.rundir.paths import runs_folder, write_atomically
from lepton_kit.runtime.start import start_driver


def begin(
    name: str,
    runs_dir: str | Path | None,
    fill: Callable[[Path], RunConfig],
    start: Callable[[RunPaths], object] | None = None,
) -> RunPaths:
    """Make the folder of a run and start its driver, or do what ``start`` does instead; whatever fails, no folder is left.

    ``fill`` writes what belongs to the run (model, data, callbacks) into the folder that it is given, and returns the
    configuration. The folder has its name once it is complete. Raises `RunError` where the disk is full.
    """
    paths = RunPaths(runs_folder(runs_dir) / new_run_id(name))
    hidden = RunPaths(paths.root.with_name(f".{paths.id}"))
    try:
        hidden.create()
        write_atomically(hidden.config, fill(hidden.root).to_yaml())
        os.rename(hidden.root, paths.root)
        (start or start_driver)(paths)
    except BaseException as failure:
        shutil.rmtree(hidden.root, ignore_errors=True)
        if not lock.held(paths):  # a driver that has it already keeps it
            shutil.rmtree(paths.root, ignore_errors=True)
        if isinstance(failure, OSError) and failure.errno in FULL:
            runs = paths.root.parent
            raise RunError(f"{runs}: the run can't be stored ({why_not_written(failure, runs)})") from None
        raise
    return paths
