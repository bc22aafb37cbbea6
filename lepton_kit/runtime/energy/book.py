"""The machine's book of energy: one reading for all its runs, which shares out what was taken, so that nothing counts twice."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lepton_kit.errors import ConfigError
from lepton_kit.planning.energy import NOTHING, Energy, Interval, Reading, between, quiet, shares
from lepton_kit.planning.power import Power
from lepton_kit.runtime.energy.usage import born
from lepton_kit.runtime.pool.folder import PLACES, PoolFolder

ENERGY = "LEPTON_ENERGY"
"""The environment variable that names the book's folder, or says ``off``: each run then has a book of its own."""
NAME = "lepton-energy"
READ_SECONDS = 4.0
"""A run that looks reads the counters if that was so long ago; one that begins or ends reads them anyhow."""
PATIENCE_SECONDS = 0.2
"""Who has it holds it for milliseconds; a run that does not get it has its part at its next look."""


class Source(Protocol):
    """Counters that are read together, of the processors or of one GPU, and how much of them a program uses."""

    name: str
    power: Power

    def now(self) -> float:
        """The time, as readings have it."""

    def read(self) -> Reading:
        """What they say now."""

    def used(self, pid: int, before: float, seconds: float) -> float:
        """A growing total of seconds that a program has used; it was ``before`` when this was asked ``seconds`` ago."""


@dataclass
class Program:
    """One that takes part: its first process, what it had used at the last reading, and what it has yet to fetch."""

    pid: int
    born: int | None
    used: float
    energy: Energy
    begin: float
    end: float
    """Of what it has yet to fetch; the same where that is nothing."""
    why: str | None = None


@dataclass
class Lane:
    """What the book has of one source."""

    reading: Reading | None = None
    quiet: float | None = None
    """Watts in the quietest interval in which it had nothing to do."""
    programs: dict[str, Program] = field(default_factory=dict)


class Book:
    """Kept in a file that all users of this machine share, or in memory where there is no place for one.

    Whoever reads the counters reads the processor time of all programs at the same moment, and shares out. A machine that
    has started anew begins a new book. Users who write nonsense into it are out of scope.
    """

    def __init__(self, folder: PoolFolder | None):
        self._folder = folder
        self._alone: dict[str, Lane] = {}

    @property
    def shared(self) -> bool:
        """Whether other runs of the machine are in it too."""
        return self._folder is not None

    def join(self, source: Source, pid: int) -> None:
        """Share in a source from now on, with a process and those below; anew if it has shared before."""
        with self._lane(source.name) as lane:
            _read(lane, source, 0.0)
            _add(lane, source, pid)

    def fetch(self, source: Source, pid: int, fresh: bool = False) -> Program | None:
        """The part of a process since it was asked last, after a new reading if it is time or ``fresh``.

        None if there was none yet. One that is not in the book, such as after somebody spoilt it, shares from now on.
        """
        with self._lane(source.name) as lane:
            _read(lane, source, 0.0 if fresh else READ_SECONDS)
            found = lane.programs.get(_name(pid))
            if found is None:
                _read(lane, source, 0.0)
                _add(lane, source, pid)
                return None
            lane.programs[_name(pid)] = Program(
                found.pid, found.born, found.used, NOTHING, found.end, found.end
            )
            return found if found.end > found.begin else None

    @contextmanager
    def _lane(self, name: str) -> Iterator[Lane]:
        """What the book has of a source, alone with it; what was changed is written back."""
        if self._folder is None:
            yield self._alone.setdefault(name, Lane())
            return
        with self._folder.locked(PATIENCE_SECONDS):
            descriptor = _open(self._folder.path / "book")
            try:
                book = _loaded(descriptor)
                lane = _lane_of(book["lanes"].get(name))
                yield lane
                book["lanes"][name] = asdict(lane)
                text = json.dumps(book, separators=(",", ":")).encode()
                os.pwrite(descriptor, text, 0)
                os.ftruncate(descriptor, len(text))
            finally:
                os.close(descriptor)


def _name(pid: int) -> str:
    """One process is never in a lane twice."""
    return f"{pid}-{born(pid)}"


def _add(lane: Lane, source: Source, pid: int) -> None:
    assert lane.reading is not None, "it was just read"
    at = lane.reading.at
    lane.programs[_name(pid)] = Program(pid, born(pid), source.used(pid, 0.0, 0.0), NOTHING, at, at)


def _read(lane: Lane, source: Source, after: float) -> None:
    """Read the source if that was so long ago, and share out what was taken since."""
    if lane.reading is not None and source.now() - lane.reading.at < after:
        return
    now = source.read()
    seconds = 0.0 if lane.reading is None else now.at - lane.reading.at
    used = {
        name: source.used(one.pid, one.used, seconds) if one.born == born(one.pid) else None
        for name, one in lane.programs.items()
    }
    if lane.reading is not None and seconds > 0:
        found = between(lane.reading, now, source.power, lane.quiet)
        if (watts := quiet(found, source.power.cores)) is not None:
            lane.quiet = watts if lane.quiet is None else min(lane.quiet, watts)
        _share_out(lane, found, used)
    for name, total in used.items():
        if total is None:  # it is gone without a word
            del lane.programs[name]
        else:
            lane.programs[name].used = total
    lane.reading = now


def _share_out(lane: Lane, found: Interval, used: dict[str, float | None]) -> None:
    """Give each program its part of an interval."""
    more = {
        name: max(0.0, total - lane.programs[name].used) for name, total in used.items() if total is not None
    }
    for name, part in shares(found.energy, found.busy, more).items():
        one = lane.programs[name]
        one.energy, one.end, one.why = one.energy + part, found.end, found.why or one.why


def _open(path: Path) -> int:
    """The book, made for everybody the first time: in a folder that all write into, none but its owner could replace it."""
    with suppress(FileExistsError):
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchmod(made, 0o666)
        os.close(made)
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path}: not a file")
    return descriptor


def _loaded(descriptor: int) -> dict[str, Any]:
    """What the book says of this start of the machine; a new one if it is of another, or spoilt."""
    boot = _boot()
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        found = json.loads(os.pread(descriptor, 1 << 22, 0))
        if found.get("boot") == boot and isinstance(found["lanes"], dict):
            return dict(found)
    return {"boot": boot, "lanes": {}}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _lane_of(told: Any) -> Lane:
    """A lane from plain values; an empty one where they are none."""
    try:
        reading = told["reading"]
        counters = {str(name): (float(a), float(b)) for name, (a, b) in reading["counters"].items()}
        programs = {
            str(name): Program(**{**one, "energy": Energy(**one["energy"])})
            for name, one in told["programs"].items()
        }
        return Lane(Reading(**{**reading, "counters": counters}), told["quiet"], programs)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Lane()


def usual_book() -> Book:
    """This machine's book; one of the run's own where it is off, or where its folder can't serve."""
    named = os.environ.get(ENERGY, "")
    if named.lower() in ("off", "0", "none"):
        return Book(None)
    base = next((place for place in PLACES if os.access(place, os.W_OK | os.X_OK)), PLACES[-1])
    try:
        return Book(PoolFolder(Path(named).absolute() if named else base / NAME))
    except ConfigError as failure:
        if named:
            raise ConfigError(ENERGY, given=named, rule=failure.rule) from None
        return Book(None)
