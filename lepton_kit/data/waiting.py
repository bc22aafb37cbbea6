"""A line that tells how far decoding is and how long it will still take; shown only where it takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

PATIENCE = 5.0
"""Seconds without a word: what is done by then needs none."""
EVERY, EVERY_IN_A_FILE = 0.5, 30.0
"""Seconds between two lines, which a terminal and a notebook write over each other and a file keeps."""


class Waiting:
    """Call it with (done, total): it writes a line such as ``decoding data: 120 of 4,000, about 35 s left``."""

    def __init__(
        self,
        what: str = "decoding data",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.what, self.stream, self.clock = what, stream or sys.stderr, clock
        self.start = clock()
        self.shown: float | None = None
        self.first: tuple[float, int] | None = None
        """When the first word came, and what was done by then: what took longer before, such as listing, is no pace."""
        terminal = getattr(self.stream, "isatty", lambda: False)() or "IPython" in sys.modules
        self.kept = not terminal
        self.every = EVERY_IN_A_FILE if self.kept else EVERY

    def __call__(self, done: int, total: int) -> None:
        """Write the line if one is due."""
        now, ended = self.clock(), done >= total
        if self.first is None:
            self.first = now, done
        since, begun = now - self.first[0], done - self.first[1]
        soon = now - self.start < PATIENCE or (self.shown is not None and now - self.shown < self.every)
        if soon and not (ended and self.shown is not None):
            return
        if not (begun or ended):
            return
        self.shown = now
        seconds = now - self.start if ended else since * done / begun
        line = f"{self.what}: {line_of(done, total, seconds)}"
        self.stream.write(f"{line}\n" if self.kept else f"\r{line:<70}" + ("\n" if ended else ""))
        self.stream.flush()


def line_of(done: int, total: int, seconds: float) -> str:
    """What is done after that many seconds, and how long the rest will take at the same pace.

    >>> line_of(120, 4000, 2.0), line_of(5, 5, 90.0)
    ('120 of 4,000, about 65 s left', '5 of 5, in 90 s')
    """
    if done >= total:
        return f"{done:,} of {total:,}, in {seconds:.0f} s"
    left = seconds * (total - done) / max(1, done)
    return f"{done:,} of {total:,}, about {f'{left / 60:.0f} min' if left >= 100 else f'{left:.0f} s'} left"
