"""A worker made slow for real, for lessons and tests: it rests where a slow processor computes, or a slow disk reads."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Slowness:
    """How slow a worker is made; belongs to its process, so a ring that forms anew changes nothing.

    >>> slow = Slowness()
    >>> slow.set(factor=3.0)
    >>> slow.factor, slow.data_seconds
    (3.0, 0.0)
    """

    def __init__(self) -> None:
        self.factor = 1.0
        """Computing takes so many times as long …"""
        self.data_seconds = 0.0
        """… and reading so many seconds a step longer."""
        self._woken = threading.Event()

    def set(self, factor: float | None = None, data_seconds: float | None = None) -> None:
        """Be as slow as this from the next block on; None leaves it as it is. Ends a rest, from any thread."""
        self.factor = self.factor if factor is None else factor
        self.data_seconds = self.data_seconds if data_seconds is None else data_seconds
        self.wake()

    def after_reading(self, steps: int) -> None:
        """Rest for what reading so many steps takes longer."""
        self._rest(lambda: self.data_seconds * steps)

    def after_computing(self, seconds: float) -> None:
        """Rest for what longer computing of so many seconds takes."""
        self._rest(lambda: (self.factor - 1.0) * seconds)

    def wake(self) -> None:
        """End a rest: the ring breaks up, or it is undone."""
        self._woken.set()

    def _rest(self, seconds: Callable[[], float]) -> None:
        self._woken.clear()  # before it is asked how long, so that no change is missed
        if (wanted := seconds()) > 0:
            self._woken.wait(wanted)
