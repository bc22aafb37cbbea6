"""What each run of a pool writes of itself, as a small file that it holds a lock on while it lives."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lepton_kit.planning.allocation import LEAST_PRIORITY, Capacity, Grant, Request, allocate
from lepton_kit.rundir import Status
from lepton_kit.runtime.pool.files import OwnFile, of_the_living
from lepton_kit.runtime.pool.folder import SUFFIX, PoolFolder, roll

SILENT_SECONDS = 60.0
"""A member looks every ten seconds at least, in line, and every second while it trains."""
SILENT = "its driver is held up: nothing was heard of it for a minute"
LEAST_AHEAD = 2.0
"""File systems note when a file was written by ticks, by seconds or by two; clocks nearer than that are taken for one."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
LARGEST, MOST_WORKERS, SPEEDS = 1e30, 1 << 17, (1e-12, 1e15)
"""The most that a member may say of anything, and of workers; and the samples/s that count as measured."""


@dataclass
class Entry:
    """A run of a pool as it describes itself. Times are unix seconds; ``speeds`` are samples/s by number of workers.

    ``held``: workers that it has or has begun to start; ``used_bytes``: memory that these take so far; ``seconds``: processor
    time since it joined; ``since``: when it came into the line (None: it has its workers); ``cores``: how many it may use; ``free``: how many of them nobody outside the pool keeps busy, as it
    sees it (None: it has not looked yet). ``cap``: for now it takes no more than this, such as while it starts; ``wait_seconds``:
    how long it may wait in line, by the pace of the line so far; ``keeps_seconds``: when it may lose its workers for others' turns. ``machine`` is which machine it shares, or which hosts; of these
    ``places`` says how many slots it holds of each. ``seen`` is when it wrote last.
    """

    run: str
    user: str
    arrived: float
    machine: str = ""
    least: int = 1
    most: int = 1
    share: float = 1.0
    priority: int = 0
    held: int = 0
    left: float | None = None
    pause_seconds: float | None = None
    worker_bytes: int = 0
    run_bytes: int = 0
    used_bytes: int = 0
    seconds: float = 0.0
    cores: int = 1
    free: int | None = None
    since: float | None = None
    suspendable: bool = False
    keeps_seconds: float | None = None
    state: str = "queued"
    cap: int | None = None
    wait_seconds: float | None = None
    speeds: dict[int, float] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    seen: float | None = None

    def silent(self, now: float) -> bool:
        """Whether it has written nothing for so long that it can't take what it is given: its process is held up.

        Nor anything since the system's clock was set back, where it has written in what is now the future.

        >>> Entry("a", "me", 1.0, seen=100.0).silent(500.0), Entry("a", "me", 1.0).silent(500.0)
        (True, False)
        """
        return self.seen is not None and abs(now - self.seen) > SILENT_SECONDS

    def move(self, seconds: float) -> None:
        """Bring its times to a clock that is so far ahead of the one by which it was written.

        >>> a = Entry("a", "me", 10.0, since=20.0, seen=30.0)
        >>> a.move(-5.0)
        >>> a.arrived, a.since, a.seen
        (5.0, 15.0, 25.0)
        """
        self.arrived = max(0.0, self.arrived + seconds)
        self.since = None if self.since is None else max(0.0, self.since + seconds)
        self.seen = None if self.seen is None else self.seen + seconds

    def request(self, now: float) -> Request:
        """What it asks for at this time, in unix seconds. Raises `ConfigError`."""
        silent = self.silent(now)
        yields = self.state == Status.PAUSED  # whoever waits could train meanwhile
        cap = self.held if silent and self.held else self.cap
        return Request(
            self.run,
            arrived=self.arrived,
            waited=0.0 if self.since is None or self.held else max(0.0, now - self.since),
            suspendable=self.suspendable and not silent,
            keeps_seconds=None if silent else self.keeps_seconds,
            least=self.least,
            most=self.most if cap is None else max(self.least, min(self.most, cap)),
            weight=self.share,
            priority=LEAST_PRIORITY if yields else self.priority,
            held=self.held,
            left=self.left,
            pause_seconds=self.pause_seconds,
            worker_bytes=self.worker_bytes,
            run_bytes=self.run_bytes,
        )

    @classmethod
    def read(cls, text: str) -> Entry | None:
        """The entry of a file; None for what is none."""
        try:
            values = json.loads(text)
            known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
            speeds = {int(n): float(rate) for n, rate in dict(known.get("speeds", {})).items()}
            known["speeds"] = {
                n: rate
                for n, rate in speeds.items()
                if 1 <= n <= MOST_WORKERS and SPEEDS[0] <= rate <= SPEEDS[1]
            }
            known["places"] = {str(name): int(n) for name, n in dict(known.get("places", {})).items()}
            entry = cls(**known)
            fine = all(_can_be(one, getattr(entry, one.name)) for one in fields(cls)) and entry.cores >= 1
            workers = (entry.most, entry.held, *entry.places.values())
            if not (fine and all(0 <= n <= MOST_WORKERS for n in workers)):
                return None
            entry.request(0.0)
        except (ValueError, TypeError, AttributeError, RecursionError, ArithmeticError):
            return None
        return entry


def _can_be(one: Field[Any], value: object) -> bool:
    """Whether a field can have this value: one of its type, a number finite and, but for the priority, at least 0."""
    kind = str(one.type)
    if value is None:
        return kind.endswith("None")
    if isinstance(value, bool | str | dict):
        return kind.startswith(type(value).__name__)
    if not isinstance(value, int if kind.startswith("int") else int | float):
        return False
    least = LEAST_PRIORITY if one.name == "priority" else 0
    return kind.startswith(("int", "float")) and least <= value <= LARGEST


class Membership(OwnFile):
    """A run's own file. Others see that it is gone when its lock is, however it ended.

    ``ahead`` is how far the clock of the folder's file system is before this machine's.
    """

    ahead = 0.0

    def __init__(self, folder: PoolFolder, run: str):
        """Join; to be called with the pool locked. Raises `OSError`."""
        super().__init__(folder, f"{run}{SUFFIX}")
        try:
            folder.enroll(run)
        except OSError:
            self.leave()
            raise

    def tell(self, entry: Entry) -> None:
        """Say what is true now; to be called with the pool locked."""
        entry.seen = time.time()
        self.write(json.dumps(asdict(entry)))
        self.ahead = ahead(self.descriptor, entry.seen)


def ahead(file: Path | int, seen: float) -> float:
    """Seconds by which the clock that notes when a file was written is before the one by which its writer said ``seen``.

    Machines that see the same folder may have different times; the server that has it, or the one machine, has one.

    >>> ahead(Path("nowhere"), 1.0)
    0.0
    """
    try:
        found = os.stat(file).st_mtime - seen
    except OSError:
        return 0.0
    return found if abs(found) >= LEAST_AHEAD else 0.0


def entries(folder: Path, group: str | None = None) -> list[Entry]:
    """The runs of a pool that live and share these hosts, or this machine, in order of arrival. Dead ones' files are swept if ours."""
    group = this_machine() if group is None else group
    return [one for one in everyone(folder) if one.machine == group]


def everyone(folder: Path) -> list[Entry]:
    """All runs that find each other in a folder, whatever they share."""
    return _told(folder, of_the_living(folder, SUFFIX, roll(folder))[0], 0.0)


def survey(pool: PoolFolder, own: Membership, group: str) -> tuple[list[Entry], list[str]]:
    """The same as `entries`, and the members that can't say now what they hold, since somebody has deleted or spoilt their files.

    Times of others are brought to the clock of this machine. To be called with the pool locked, after ``own`` was written. May raise `OSError`.
    """
    texts, dead = of_the_living(pool.path, SUFFIX, roll(pool.path))
    found = _told(pool.path, texts, own.ahead)
    lost = pool.call_roll([one.run for one in found], dead, time.time() + own.ahead)
    return [one for one in found if one.machine == group], lost


def _told(folder: Path, texts: Mapping[str, str], own: float) -> list[Entry]:
    """The entries of these files, their times by the clock that is ``own`` seconds behind the folder's."""
    read = ((name, Entry.read(text)) for name, text in texts.items())
    found = [entry for name, entry in read if entry is not None and entry.run == name]
    for one in found:
        if one.seen is not None:
            one.move(ahead(folder / f"{one.run}{SUFFIX}", one.seen) - own)
    return sorted(found, key=lambda one: (one.arrived, one.run))


def this_machine() -> str:
    """What tells this machine from others that see the same folder, until it starts anew."""
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        import platform

        return platform.node()


def capacity(members: Sequence[Entry], cores: int, free_bytes: int | None) -> Capacity:
    """What the members share: the cores that the first of them sees to be free of others, and the memory.

    ``free_bytes`` are free now: what members use already is theirs to divide too. At least one core: a busy machine
    goes on with one run.

    Of hosts all slots count, and no memory: nobody looks at their load.

    >>> a = Entry("a", "me", 1.0, held=1, cores=8, free=6, used_bytes=50)
    >>> capacity([a, Entry("b", "me", 2.0, held=1, cores=8, free=3)], 8, 100)
    Capacity(workers=6, memory_bytes=150)
    """
    seen = next((one.free for one in members if one.held and one.free is not None), None)
    if seen is None:
        seen = max([cores, *(one.cores for one in members)])
    memory = None if free_bytes is None else free_bytes + sum(one.used_bytes for one in members)
    return Capacity(max(1, seen), memory)


def grants(members: Sequence[Entry], shared: Capacity, now: float) -> dict[str, Grant]:
    """Who gets what, as every member computes it. One that is silent keeps what it has, and gets nothing: others go first.

    >>> stopped = Entry("a", "me", 1.0, seen=0.0)
    >>> [
    ...     one.workers
    ...     for one in grants([stopped, Entry("b", "me", 2.0, seen=99.0)], Capacity(1), 100.0).values()
    ... ]
    [1, 0]
    """
    heard = [one for one in members if one.held or not one.silent(now)]
    speeds = {one.run: one.speeds for one in heard}
    found = allocate([one.request(now) for one in heard], shared, speeds)
    for one in members:
        if one.run not in found:
            found[one.run] = Grant(one.run, 0, len(members) - 1, None, SILENT)
    return found


def reserved(entry: Entry, members: Sequence[Entry], shared: Capacity, granted: int) -> int:
    """How many workers a run may have at once: its grant, as far as the others have given back what they hold.

    Less than its least only where it holds none. So the workers held, and their memory, never add up to more than there is.

    >>> a, b = Entry("a", "me", 1.0, held=1, most=4), Entry("b", "me", 2.0, held=3, most=4)
    >>> reserved(a, [a, b], Capacity(4), 2)
    1
    """
    others = [one for one in members if one.run != entry.run]
    room = shared.workers - sum(one.held for one in others)
    if shared.memory_bytes is not None and entry.worker_bytes:
        taken = sum(one.held * one.worker_bytes + (one.run_bytes if one.held else 0) for one in others)
        memory = shared.memory_bytes - taken - entry.run_bytes
        room = min(room, memory // entry.worker_bytes)
    if granted <= entry.held:
        return granted
    best = max(entry.held, min(granted, room))
    return best if best >= entry.least else 0
