"""A run's part of what its machine takes: fetched every few seconds, and once more at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from lepton_kit.errors import ConfigError
from lepton_kit.planning.energy import added
from lepton_kit.runtime.energy.book import Book, Program, Source, usual_book
from lepton_kit.runtime.energy.counters import Counters
from lepton_kit.runtime.energy.gpus import gpu_counters

EVERY_SECONDS = 5.0
"""A counter of 65 kJ wraps after 160 s at 400 W."""


class EnergyMeter:
    """Fetches a run's part from the machine's book.

    One for a run on this machine, in its driver, and one for each host, in its agent; the part is that of the process
    that makes it, and of those below.
    """

    def __init__(
        self, book: Book | None = None, sources: Sequence[Source] | None = None, pid: int | None = None
    ):
        self._book, self._pid = book, os.getpid() if pid is None else pid
        self._sources: list[Source] = []
        self._looked = time.monotonic()
        self._with_gpus = False
        self._failed: str | None = None
        for source in [Counters()] if sources is None else sources:
            self._join(source)

    def count_gpus(self) -> None:
        """The run has workers on GPUs from now on: count these too, where they tell."""
        if not self._with_gpus:
            self._with_gpus = True
            for source in gpu_counters():
                self._join(source)

    def measure(self, now: float, fresh: bool = False) -> dict[str, Any] | None:
        """The fields of an ``energy`` event if one is due, or at once and up to this moment if it is to be ``fresh``."""
        if not fresh and now - self._looked < EVERY_SECONDS:
            return None
        self._looked = now
        parts: list[tuple[str, Program]] = []

        def fetch(book: Book) -> None:
            for source in self._sources:
                if (part := book.fetch(source, self._pid, fresh)) is not None:
                    parts.append((source.name, part))

        self._try(fetch)
        failed, self._failed = self._failed, None
        if failed is not None:
            return {**(told(parts) if parts else {"joules": None}), "why": failed}
        return told(parts) if parts else None

    def _join(self, source: Source) -> None:
        self._sources.append(source)
        self._try(lambda book: book.join(source, self._pid))

    def _try(self, do: Callable[[Book], None]) -> None:
        """Energy is worth no run: what can't be used is told, and the run goes on with a book of its own."""
        try:
            if self._book is None:
                self._book = usual_book()
            do(self._book)
        except TimeoutError:
            return  # another holds it; what is fetched later has this too
        except (OSError, ConfigError) as failure:
            if self._book is None or self._book.shared:
                self._failed = (
                    f"the machine's book of energy can't be used ({failure}); this run counts alone"
                )
                self._book = Book(None)
                for source in self._sources:
                    self._book.join(source, self._pid)


def told(parts: Sequence[tuple[str, Program]]) -> dict[str, Any]:
    """Parts of a run as an event has them: joules from their source with an interval, which of them are idle power."""
    total = added(part.energy for _, part in parts)
    whys = [part.why for _, part in parts if part.why is not None]
    begin, end = min(part.begin for _, part in parts), max(part.end for _, part in parts)
    return {
        "joules": round(total.joules, 4),
        "low": round(total.low, 4),
        "high": round(total.high, 4),
        "idle": round(total.idle, 4),
        "origin": total.origin,
        "seconds": round(end - begin, 3),
        "of": list(dict.fromkeys(name for name, _ in parts)),
        "why": whys[-1] if whys else None,
    }
