"""The folder in which the runs of a machine find each other: where it is, made safely, with locks that hold."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lepton_kit.errors import ConfigError, RunError

POOL = "LEPTON_POOL"
"""The environment variable that names the folder, or says ``off``."""
PLACES = (Path("/dev/shm"), Path("/tmp"))
NAME = "lepton-pool"
LOCK, SUFFIX = "lock", ".json"
MOST_NAMES = 1 << 20
MODE = 0o1777
"""Anybody may add a file, and only its owner may take it away."""
PATIENCE_SECONDS = 2.0
"""A member holds the lock for milliseconds. Who does not get it within this time tries again at its next look."""
JOIN_SECONDS = 5.0
"""Where somebody has cleared the folder, or a member's file, a run in line takes nothing for so long: those that train look every second."""
WITHOUT_LOCKS = {
    **dict.fromkeys(("nfs", "nfs4"), ("nolock", "local_lock=all", "local_lock=flock", "nocto")),
    **dict.fromkeys(("cifs", "smb3"), ("nobrl",)),
    "lustre": ("localflock", "noflock"),
    **dict.fromkeys(("beegfs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"), ("",)),
}
"""Network file systems by type, and the options of a mount under which locks do not hold between machines ("" : always), or, with
nocto, what another machine has written is not seen: nfs(5), mount.cifs(8), mount.lustre(8), and the manuals of the others; BeeGFS holds locks on each machine alone unless its
client's `tuneUseGlobalFileLocks` says otherwise, which a mount doesn't tell."""


def folder_named() -> Path | None:
    """The folder that the environment names, else the usual one of this machine; None where it is ``off``."""
    named = os.environ.get(POOL, "")
    if named.lower() in ("off", "0", "none"):
        return None
    if named:
        return Path(named).absolute()
    base = next((place for place in PLACES if os.access(place, os.W_OK | os.X_OK)), PLACES[-1])
    return base / NAME


class PoolFolder:
    """An open pool. Raises `ConfigError` that names `LEPTON_POOL` where the folder can't serve, with the reason."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = path / LOCK
        self._make()
        _check_mount(path, _mounts())
        self._probe()

    def _make(self) -> None:
        """The folder and the file of its lock, as far as they aren't there."""
        _make(self.path)
        try:
            made = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.fchmod(made, 0o666)
            os.close(made)
        except FileExistsError:
            pass
        except OSError as failure:
            raise _unfit(self.path, f"a folder that you may write into ({failure.strerror})") from None

    @contextlib.contextmanager
    def locked(self, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
        """Have the pool for oneself. Raises `TimeoutError` if another has it for longer than it should."""
        descriptor = self._open()
        try:
            deadline = time.monotonic() + patience
            while not try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self._lock}: held by another for more than {patience:g} s")
                time.sleep(0.005)
            yield
        finally:
            os.close(descriptor)

    def enroll(self, run: str) -> None:
        """Note a member in the file of the lock; to be called with the pool locked. May raise `OSError`.

        What is in a file is seen by the next one who has its lock, on network file systems too (nfs(5)); a list of a folder may be
        half a minute old there, and a member that nobody sees is not counted.
        """
        self._note(roll(self.path) | {run: None})

    def dismiss(self, run: str) -> None:
        """A member leaves; to be called with the pool locked. May raise `OSError`."""
        self._note({name: since for name, since in roll(self.path).items() if name != run})

    def call_roll(self, there: Iterable[str], dead: Iterable[str], now: float) -> list[str]:
        """Members that have neither left nor died and don't say what they hold: somebody has deleted or spoilt their files.

        For so long as they need to write them anew; then they are forgotten. ``there`` are those that were heard, ``dead`` those whose
        files nobody holds. The time is the folder's; where it was set back, it counts anew. To be called with the pool locked. May raise `OSError`.
        """
        known, heard, gone = roll(self.path), set(there), set(dead)
        kept: dict[str, float | None] = {}
        for name, since in known.items():
            if name in heard:
                kept[name] = None
            elif name not in gone and (since is None or now - since <= JOIN_SECONDS):
                kept[name] = now if since is None else min(since, now)
        if kept != known:
            self._note(kept)
        return [name for name, since in kept.items() if since is not None]

    def _note(self, members: Mapping[str, float | None]) -> None:
        lines = (name if since is None else f"{name} {since:.3f}" for name, since in members.items())
        text = "".join(f"{line}\n" for line in lines).encode()
        descriptor = self._open()
        try:
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            try:
                return os.open(self._lock, flags)
            except FileNotFoundError:  # somebody has cleared it away; runs go on for days
                self._make()
                return os.open(self._lock, flags)
        except OSError as failure:
            raise _unfit(
                self.path, f"a file {LOCK!r} in it that all may write ({failure.strerror})"
            ) from None

    def _probe(self) -> None:
        """See that a lock keeps a second one out."""
        first = self._open()
        second = self._open()
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not try_lock(first):
                if time.monotonic() > deadline:
                    return  # another has it, so they hold
                time.sleep(0.005)
            if try_lock(second):
                raise _unfit(self.path, "one on a file system whose locks hold; here two were given at once")
        except OSError as failure:
            raise _unfit(self.path, f"one on a file system with locks ({failure.strerror})") from None
        finally:
            os.close(first)
            os.close(second)


def roll(folder: Path) -> dict[str, float | None]:
    """The members that the file of a pool's lock names, and since when one is not to be heard; what is no name counts for nothing."""
    try:
        with open(folder / LOCK, "rb") as file:
            lines = file.read(MOST_NAMES).decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    found = (re.fullmatch(r"([\w-][\w.-]{0,199})(?: ([0-9]{1,12}\.[0-9]{3}))?", line) for line in lines)
    return {one[1]: None if one[2] is None else float(one[2]) for one in found if one}


def try_lock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    """Take a lock if it is free. Raises `OSError` where there are none."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as failure:
        if failure.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def usual_pool() -> PoolFolder | None:
    """This machine's pool; None where it is off, or where the usual folder can't serve and nobody named another."""
    path = folder_named()
    if path is None:
        return None
    try:
        return PoolFolder(path)
    except ConfigError:
        if os.environ.get(POOL):
            raise
        return None


def _make(path: Path) -> None:
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, MODE)
    except FileExistsError:
        pass
    except OSError as failure:
        raise _unfit(path, f"a folder that can be made ({failure.strerror})") from None
    for _ in range(20):
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise _unfit(path, "a folder, and no link to one")
        mine, open_to_all = found.st_uid == os.getuid(), stat.S_IMODE(found.st_mode) & MODE == MODE
        if mine or open_to_all:
            break
        time.sleep(0.01)  # another user has just made it, and opens it to all next
    else:
        raise _unfit(
            path, f"your own folder, or one with mode {MODE:o}; it has {stat.S_IMODE(found.st_mode):o}"
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise _unfit(path, "a folder that you may write into")


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def _check_mount(path: Path, mounts: str) -> None:
    kind, options = mount_of(path.resolve(), mounts)
    bad = next((one for one in WITHOUT_LOCKS.get(kind, ()) if one == "" or one in options), None)
    if bad is not None:
        said = f"{kind} with {bad}" if bad else kind
        raise _unfit(path, f"one on a file system whose locks hold between machines; this is {said}")


def mount_of(path: Path, mounts: str) -> tuple[str, list[str]]:
    """Type and options of the file system that a path lies on, from the text of /proc/self/mountinfo (proc(5)).

    >>> mount_of(Path("/lab/pool"), "9 1 0:1 / /lab rw - nfs4 srv:/ rw,local_lock=all")
    ('nfs4', ['rw', 'rw', 'local_lock=all'])
    """
    best: tuple[int, str, list[str]] = (-1, "", [])
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, last = before.split(), after.split()
        if len(fields) < 6 or len(last) < 3:
            continue
        place = Path(fields[4].replace("\\040", " "))
        if (path == place or place in path.parents) and len(place.parts) >= best[0]:
            best = (len(place.parts), last[0], [*fields[5].split(","), *last[2].split(",")])
    return best[1], best[2]


def _unfit(path: Path, rule: str) -> ConfigError:
    return ConfigError(POOL, given=str(path), rule=f"{rule}; or 'off', to share with nobody")


def unreadable(path: Path, failure: OSError) -> RunError:
    """The error of a pool that can't be read."""
    return RunError(f"{path}: the pool can't be read ({failure.strerror})")
