"""How many cores of this machine nobody outside the pool keeps busy."""

from __future__ import annotations

from collections.abc import Mapping

from lepton_kit.machine.devices import cores_left

LOOK_SECONDS = 4.0
"""Time between two looks at the load; two looks that agree change what is taken to be free."""


class ForeignLoad:
    """The cores that are left, from growing totals of processor seconds; ``free`` is None until two looks agree."""

    def __init__(self, cores: int):
        self._cores = cores
        self._before: tuple[float, float, dict[str, float]] | None = None
        self._seen: int | None = None
        self.free: int | None = None

    def look(self, now: float, busy: float, own: Mapping[str, float]) -> None:
        """Take in that all cores together have been busy for so many seconds, of these the runs of the pool for theirs.

        >>> load = ForeignLoad(4)
        >>> for second in range(0, 20, 4):
        ...     load.look(second, 3.0 * second, {"a": 2.0 * second})
        >>> load.free
        3
        """
        if self._before is None:
            self._before = (now, busy, dict(own))
            return
        then, busy_then, own_then = self._before
        seconds = now - then
        if seconds < LOOK_SECONDS:
            return
        pool = sum(max(0.0, total - own_then.get(run, 0.0)) for run, total in own.items())
        left = cores_left(self._cores, max(0.0, busy - busy_then - pool) / seconds)
        self._before = (now, busy, dict(own))
        if left == self._seen:
            self.free = left
        self._seen = left

    def forget(self) -> None:
        """Begin anew: what was seen is too old."""
        self._before = self._seen = None


def busy_seconds() -> float:
    """Seconds that all cores of this machine together have been busy since it started."""
    import psutil

    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
