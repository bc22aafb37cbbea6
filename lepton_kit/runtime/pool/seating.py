"""Who sits where on this machine: each run says which workers it has here, on which cores and GPUs, and takes no held core."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lepton_kit.errors import ConfigError, DeviceError
from lepton_kit.runtime.places import Place
from lepton_kit.runtime.pool.files import OwnFile, of_the_living
from lepton_kit.runtime.pool.folder import PoolFolder, folder_named, usual_pool
from lepton_kit.runtime.pool.members import this_machine
from lepton_kit.runtime.pool.share import user_name

SUFFIX = ".seats"


@dataclass(frozen=True)
class Seated:
    """A worker of a run on this machine; ``cores`` is empty where it is not pinned, ``pid`` None until it is there."""

    worker: int
    cores: tuple[int, ...] = ()
    gpu: int | None = None
    pid: int | None = None


@dataclass(frozen=True)
class Seats:
    """What a run holds of this machine: its workers, and cores that are kept for workers that it does not have now.

    ``shared`` are those of its cores that others may be pinned to, too.
    """

    run: str
    user: str
    since: float
    machine: str
    held: tuple[int, ...] = ()
    shared: tuple[int, ...] = ()
    workers: tuple[Seated, ...] = ()

    @classmethod
    def read(cls, text: str) -> Seats | None:
        """What a file says; None for what is none of these."""
        try:
            values = json.loads(text)
            workers = tuple(
                Seated(
                    int(one["worker"]),
                    tuple(int(core) for core in one["cores"]),
                    None if one["gpu"] is None else int(one["gpu"]),
                    None if one["pid"] is None else int(one["pid"]),
                )
                for one in values["workers"]
            )
            return cls(
                str(values["run"]),
                str(values["user"]),
                float(values["since"]),
                str(values["machine"]),
                tuple(int(core) for core in values["held"]),
                tuple(int(core) for core in values["shared"]),
                workers,
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ArithmeticError):
            return None


def seats(folder: Path | None = None) -> list[Seats]:
    """What the runs of this machine hold now, the oldest first; none where ``LEPTON_POOL`` is off.

    >>> seats(Path("/nowhere"))
    []
    """
    folder = folder_named() if folder is None else folder
    if folder is None or not folder.is_dir():
        return []
    machine = this_machine()
    found = (Seats.read(text) for text in of_the_living(folder, SUFFIX)[0].values())
    return sorted(
        (one for one in found if one is not None and one.machine == machine),
        key=lambda one: (one.since, one.run),
    )


def held_cores(others: Sequence[Seats]) -> dict[int, str]:
    """Core -> the run that holds it for its pinned workers alone."""
    return {core: one.run for one in others for core in one.held if core not in one.shared}


class Register:
    """A run's own word of where its workers sit. Without a pool's folder it says nothing, and knows of nobody."""

    def __init__(self, run: str, find: Callable[[], PoolFolder | None] = usual_pool):
        self._folder = find()
        self._file: OwnFile | None = None
        self._seats = Seats(run, user_name(), time.time(), this_machine())
        self._written = self._seats

    def claim(self, choose: Callable[[dict[int, str]], Sequence[Place]]) -> Sequence[Place]:
        """Choose places, knowing which cores others hold (core -> run), and hold their cores at once.

        Raises `DeviceError` where the folder can't be had, and what ``choose`` raises.
        """
        if self._folder is None:
            return choose({})
        try:
            with self._folder.locked():
                found = [one for one in seats(self._folder.path) if one.run != self._seats.run]
                chosen = choose(held_cores(found))
                held = sorted({core for place in chosen for core in place.cores})
                shared = sorted({core for place in chosen if place.shared for core in place.cores})
                self._seats = replace(self._seats, held=tuple(held), shared=tuple(shared))
                self._write(self._folder)
                return chosen
        except (OSError, TimeoutError) as failure:
            raise DeviceError(f"places: which cores other runs hold can't be read ({failure})") from None

    def tell(self, workers: Sequence[Seated]) -> None:
        """Say which workers there are now, if that has changed."""
        self._seats = replace(self._seats, workers=tuple(workers))
        known = self._seats == self._written and (self._file is None or self._file.there)
        if self._folder is None or known:
            return
        with (
            contextlib.suppress(OSError, TimeoutError, ConfigError),
            self._folder.locked(0.02),
        ):  # else the next time
            self._write(self._folder)

    def leave(self) -> None:
        """Give everything back."""
        if self._file is not None:
            self._file.leave()
            self._file = None

    def _write(self, folder: PoolFolder) -> None:
        if self._file is not None and not self._file.there:  # the folder was cleared
            self.leave()
        if self._file is None:
            self._file = OwnFile(folder, f"{self._seats.run}{SUFFIX}")
        self._file.write(json.dumps(asdict(self._seats)))
        self._written = self._seats
