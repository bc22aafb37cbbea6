"""The data of a run, frozen when it is launched: kept with the run, opened as they were decoded, or refused."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from pathlib import Path

from lepton_kit.config import FrozenData, RunConfig
from lepton_kit.data import cache, contents
from lepton_kit.data.dataset import Dataset
from lepton_kit.data.prepared import ELSEWHERE, PreparedData, open_folder, store_folder
from lepton_kit.errors import DataError, why_not_written
from lepton_kit.rundir import RunPaths
from lepton_kit.rundir.paths import write_atomically

COPY_BYTES = 64 * 2**20
"""Decoded data on another disk than the run's are copied up to this size; larger ones stay where they are, and the run
points there."""

KEPT = {"kind": "arrays", "path": "data"}
"""The spec of data that came from memory: a run's own folder has them."""


def freeze(prepared: PreparedData, folder: Path) -> FrozenData:
    """Keep prepared data in the folder of a run that is about to begin; returns what its configuration says of them.

    The run's ``data/`` gets other names for the files of the cache, which take no room. Where the run lies on another
    disk it gets a copy of small data, and of large ones a pointer to the cache, which keeps them as long as the run
    is there. Raises `DataError` where the disk is full.
    """
    target = RunPaths(folder).data
    try:
        if prepared.folder is None or prepared.folder.resolve() != target.resolve():
            _keep(prepared, target)
        kept = open_folder(target, prepared.key)
        _register(prepared, folder, linked=kept.folder == target)
    except OSError as failure:
        raise DataError(
            f"{folder.parent}: the data can't be stored with the run ({why_not_written(failure, folder.parent)})"
        ) from None
    return FrozenData(
        fingerprint=kept.fingerprint,
        content=kept.content,
        samples=len(kept.train),
        validation_samples=len(kept.validation) if kept.validation is not None else 0,
    )


def with_data(config: RunConfig, prepared: PreparedData, folder: Path) -> RunConfig:
    """The configuration of a run in ``folder`` with its data frozen there."""
    return config.replace(frozen=freeze(prepared, folder).model_dump())


def _keep(prepared: PreparedData, target: Path) -> None:
    source = prepared.folder
    in_cache = source is not None and cache.is_cached(source)
    if store_folder(prepared, target, COPY_BYTES if in_cache else None):
        return
    shutil.rmtree(target)
    target.mkdir()
    write_atomically(target / ELSEWHERE, json.dumps({"folder": str(source)}))


def _register(prepared: PreparedData, folder: Path, *, linked: bool) -> None:
    """Under the name that the run's folder will have: it is hidden while it is filled."""
    if prepared.folder is None:
        return
    run = folder.resolve()
    try:
        cache.hold(prepared.folder, run.with_name(run.name.removeprefix(".")), linked=linked)
    except OSError:
        if not linked:  # else the run keeps its files, whatever becomes of a cache that it can't write to
            raise


def open_frozen(config: RunConfig, folder: Path) -> PreparedData:
    """The data of a run, exactly as they were when it began.

    That is the copy in its folder, whatever became of the source since. Without it, or if it was changed, the source
    is prepared again, and taken if it gives the same contents. Raises `DataError` that says what has changed. A run of
    an older version has nothing frozen; its source is opened as it is.
    """
    frozen = config.frozen
    if frozen is None:
        return Dataset.from_spec(config.data, folder).prepare()
    lost = "is gone"
    if RunPaths(folder).data.is_dir():
        try:
            kept = open_folder(RunPaths(folder).data, frozen.fingerprint)
            problems = contents.check(kept) if kept.content == frozen.content else ["they are other data"]
            if not problems:
                if kept.folder != RunPaths(folder).data:  # the run's folder may have been moved since
                    with contextlib.suppress(OSError):
                        _register(kept, folder, linked=False)
                return kept
            lost = f"was changed after the launch ({'; '.join(problems)})"
        except DataError as failure:
            lost = f"can't be read ({failure})"
    return _from_source(config, frozen, folder, lost)


def _from_source(config: RunConfig, frozen: FrozenData, folder: Path, lost: str) -> PreparedData:
    """What the source gives now, if that is the same; else an error that says what became of copy and source."""
    run = RunPaths(folder.resolve())
    name = Path(config.data.get("path") or config.data.get("name") or "").name
    copy = f"the run's own copy of it ({run.data}) {lost}"
    if config.data.kind == "arrays" and not Path(config.data["path"]).is_absolute():
        raise DataError(
            f"the data of run {run.id} were given as arrays or a stream, and {copy}; start a new run"
        )
    try:
        prepared = Dataset.from_spec(config.data, folder).prepare()
    except DataError as failure:
        raise DataError(
            f"{name} can't be read any more ({failure}) and {copy}; restore {name} for run {run.id}, or start a new run"
        ) from None
    if prepared.content != frozen.content:
        was, now = frozen.samples, len(prepared.train)
        more = f": {now} training samples instead of {was}" if was != now else ""
        raise DataError(
            f"{name} has changed since run {run.id} began ({_began(run)}){more}, and {copy}; "
            "restore it or start a new run"
        )
    with contextlib.suppress(OSError):
        _register(prepared, folder, linked=False)
    return prepared


def _began(run: RunPaths) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.config.stat().st_mtime))
    except OSError:
        return "no configuration is left"
