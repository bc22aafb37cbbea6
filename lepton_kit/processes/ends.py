"""The signals by which a scheduler or a terminal ends a job: heard by one process for all that it begins."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Slurm sends SIGUSR1 before the time limit, as the script of a run's job asks; all else that ends a job sends SIGTERM."""


class Heard:
    """Notes each of these signals from the moment it is made; what this process begins from then on ignores them.

    A signal that came while this process itself ignored it would be lost: a run that just begins would be cut off at
    its time limit.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []
        for one in ENDS:
            signal.signal(one, self)

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Note the signal."""
        self.signals.append(number)


def _heard() -> list[signal.Signals]:
    return [one for one in ENDS if isinstance(signal.getsignal(one), Heard)]


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Block what this process hears while it begins a `deaf` command: a signal may come before that ignores it.

    What is begun inherits the block, and `let_through` ends it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _heard())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_through() -> None:
    """Have these signals do here what is set for them, also where whoever began this process blocked them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


def deaf(command: list[str]) -> list[str]:
    """A command that ignores the signals that this process hears; as it is where it hears none.

    A handler ends with ``exec`` but what is ignored stays so. The shell has no thread and no state of ours, as a
    function that Python calls between fork and exec would have.
    """
    names = [one.name.removeprefix("SIG") for one in _heard()]
    return ["/bin/sh", "-c", f"trap '' {' '.join(names)}; exec \"$@\"", "sh", *command] if names else command
