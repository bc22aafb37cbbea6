"""Removes on a host what no run needs: mirrors that were left, contents that none is made of, earlier environments."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from lepton_kit.runtime.hosts.mirror import LOCK, WANTED, turn

IN_USE, COMPLETE = ".in-use", ".complete"
INSTALL_SECONDS = 86_400.0
"""An environment that is not whole, and was not touched for so long, was given up."""


def environments() -> Path:
    """Where `lepton hosts install` puts environments."""
    return Path.home() / ".local" / "share" / "lepton_kit" / "envs"


@contextlib.contextmanager
def in_use(environment: Path) -> Iterator[None]:
    """Say that an installed environment is in use, as long as this process lives."""
    if environment.parent.name != "envs":
        yield
        return
    with open(environment / IN_USE, "a") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        yield


def clean(root: Path, envs: Path) -> tuple[int, int]:
    """Remove from the agents' files in ``root``, and from ``envs``; bytes that are free now, and runs that are served.

    What a run that is served is made of stays, and so does the newest environment.
    """
    freed, runs, wanted = 0, 0, set()
    if (root / "contents").is_dir():
        with turn(root / "contents"):
            for mirror in sorted((root / "runs").glob("*")):
                if _is_free(mirror / LOCK):
                    freed += _removed(mirror)
                    continue
                runs += 1
                with contextlib.suppress(OSError):
                    wanted |= set((mirror / WANTED).read_text().split())
            for content in sorted((root / "contents").iterdir()):
                if content.name != LOCK and content.name.removeprefix(".").partition(".")[0] not in wanted:
                    freed += _removed(content)
    newest = (envs.parent / "env").resolve()
    for environment in sorted(envs.glob("*")):
        under_way = (
            not (environment / COMPLETE).exists()
            and time.time() - environment.stat().st_mtime < INSTALL_SECONDS
        )
        if environment.resolve() != newest and not under_way and _is_free(environment / IN_USE):
            freed += _removed(environment)
    return freed, runs


def _is_free(lock: Path) -> bool:
    """Whether nobody holds it; one that is not there holds nobody."""
    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _removed(path: Path) -> int:
    """Remove a file or a folder; bytes that are free now: those of files without another name."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(found.st_size for file in files if (found := os.lstat(file)).st_nlink == 1)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return size
