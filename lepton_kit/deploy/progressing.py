"""One line that says how far a long prediction is, shown only where someone looks at it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

SILENT_SECONDS = 1.0
EVERY_SECONDS = 0.2


class Line:
    """Counts inputs; ``shown`` True, False, a function of (done, total), or None: a terminal and a notebook show it."""

    def __init__(
        self,
        total: int | None,
        shown: bool | Callable[[int, int | None], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total, self.done = total, 0
        self._tell = shown if callable(shown) else None
        self._shown = looked_at() if shown is None else shown is True
        self._clock, self._start, self._drawn = clock, clock(), clock() + SILENT_SECONDS - EVERY_SECONDS
        self._width = 0

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)

    def add(self, count: int) -> None:
        """So many more inputs are done."""
        self.done += count
        if self._tell is not None:
            self._tell(self.done, self.total)
        now = self._clock()
        if self._shown and now - self._drawn >= EVERY_SECONDS:
            self._drawn = now
            self.say(progress_text(self.done, self.total, now - self._start))

    def say(self, text: str) -> None:
        """Show a text in the line's place."""
        if self._shown:
            print(f"\r{text.ljust(self._width)}", end="", file=sys.stderr, flush=True)
            self._width = max(self._width, len(text))


def looked_at() -> bool:
    """Whether the output goes to a terminal or a notebook page."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return sys.stderr.isatty() or hasattr(shell, "kernel")


def progress_text(done: int, total: int | None, seconds: float) -> str:
    """How many of how many, the speed, and the time that is left.

    >>> progress_text(500, 2000, 2.0)
    'predicted 500 of 2,000 inputs, 250/s, 6 s left'
    >>> progress_text(500, None, 2.0)
    'predicted 500 inputs, 250/s'
    """
    speed = done / max(seconds, 1e-9)
    if total is None:
        return f"predicted {done:,} inputs, {speed:,.0f}/s"
    left = (total - done) / speed if speed else 0
    return f"predicted {done:,} of {total:,} inputs, {speed:,.0f}/s, {left:.0f} s left"
