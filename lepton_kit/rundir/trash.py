"""The trash of a folder of runs: a deleted run lies there whole until it is brought back, or is removed for good."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator

from lepton_kit.errors import RunError
from lepton_kit.rundir import lock
from lepton_kit.rundir.labels import write_labels
from lepton_kit.rundir.paths import TRASH, RunPaths


def in_trash(paths: RunPaths) -> bool:
    """Whether a run lies in a trash."""
    return paths.root.parent.name == TRASH


def check_in_place(paths: RunPaths) -> None:
    """Raise `RunError` for a run that was deleted: what works in its folder would work in the trash, or nowhere."""
    if in_trash(paths):
        raise RunError(f"{paths.id} is in the trash; restore() or `lepton restore {paths.id}` brings it back")
    if not paths.root.is_dir():
        buried = (paths.root.parent / TRASH / paths.id).is_dir()
        hint = f"; `lepton restore {paths.id}` brings it back from the trash" if buried else ""
        raise RunError(f"{paths.root}: the run's folder was deleted or moved{hint}")


def bury(paths: RunPaths) -> RunPaths:
    """Move a run into the trash beside it; returns where it lies then.

    Raises `RunError` for a run that has a driver or is compressed now, and where the trash has one of that id.
    """
    target = RunPaths(paths.root.parent / TRASH / paths.id)
    with _nobody_has(paths):
        with contextlib.suppress(RunError):  # only the date is lost
            write_labels(paths, deleted=time.time())
        try:
            target.root.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as failure:
            raise RunError(f"{target.root.parent}: cannot be made ({failure.strerror})") from None
        _move(paths, target, "the trash")
    return target


def unbury(paths: RunPaths) -> RunPaths:
    """Bring a run back from the trash; returns where it lies then. Raises `RunError` where its place is taken."""
    target = RunPaths(paths.root.parent.parent / paths.id)
    _move(paths, target, str(target.root.parent))
    with contextlib.suppress(RunError):  # the mark counts in a trash alone
        write_labels(target, deleted=None)
    _close(paths)
    return target


def erase(paths: RunPaths) -> None:
    """Remove a run for good, with its share of the disk. Raises `RunError` for one that is in use."""
    if in_trash(paths):
        with _nobody_has(paths):  # an earlier version let a run go on there
            pass
    else:
        paths = bury(paths)
    doomed = paths.root.with_name(f".{paths.id}")  # from here on nobody lists it, whole or half
    try:
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(paths.root, doomed)
        shutil.rmtree(doomed)
    except OSError as failure:
        raise RunError(f"{failure.filename}: cannot be removed ({failure.strerror})") from None
    _close(paths)


def disk_bytes(paths: RunPaths) -> int:
    """What removing a run would free; files that also have another name, such as data of the cache, free nothing."""
    total = 0
    for folder, _, names in os.walk(paths.root):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(folder, name))
                total += found.st_blocks * 512 if found.st_nlink == 1 else 0
    return total


def _move(paths: RunPaths, target: RunPaths, there: str) -> None:
    if target.root.exists():
        raise RunError(f"{there} has a run {target.id} already: rename its folder, or remove it first")
    try:
        os.rename(paths.root, target.root)
    except OSError as failure:
        raise RunError(f"{paths.root}: cannot be moved to {target.root} ({failure.strerror})") from None


def _close(paths: RunPaths) -> None:
    """Take an empty trash away."""
    with contextlib.suppress(OSError):
        os.rmdir(paths.root.parent)


@contextlib.contextmanager
def _nobody_has(paths: RunPaths) -> Iterator[None]:
    """Hold a run's lock, so that no driver can take it. Raises `RunError` if one has it, or a compression works."""
    job = RunPaths(paths.root / "compression")
    if lock.held(job) or lock.claimed(job.root / "lock"):
        raise RunError(f"{paths.id} is being compressed; wait for that, or cancel it, before it is deleted")
    known = paths.lock.exists()
    try:
        descriptor = lock.take(paths, patience=0.2)
    except FileNotFoundError:
        raise RunError(f"{paths.root}: there is no such run any more") from None
    except RunError:
        raise RunError(f"{paths.id} is under way; stop it before it is deleted") from None
    except OSError as failure:
        raise RunError(f"{paths.root}: cannot be deleted ({failure.strerror})") from None
    try:
        if not known:
            paths.lock.unlink(missing_ok=True)  # taking it left a mark that only drivers leave
        yield
    finally:
        os.close(descriptor)
