"""The energy of one inference: its processor time's part of what the machine takes, above what it takes without work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from lepton_kit.runtime.energy.book import Source, usual_book
from lepton_kit.runtime.energy.counters import Counters

SECONDS = 1.0


def joules_per_call(run: Callable[[], Any], source: Source | None = None) -> dict[str, Any]:
    """``joules`` of one call over about a second of calls, with ``low``, ``high``, ``origin``, and ``why`` it was not measured.

    What the machine takes without work is not in it: that depends on what else runs. ``joules`` is None where nothing is told.
    """
    source, book = source or Counters(), usual_book()
    book.join(source, os.getpid())
    calls, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        run()
        calls += 1
    part = book.fetch(source, os.getpid(), fresh=True)
    if part is None or not part.energy.joules:
        return {"joules": None, "why": "the system does not tell how busy the processors are (/proc/stat)"}
    total = part.energy
    used = total.scaled((total.joules - total.idle) / total.joules / calls)
    return {
        "joules": used.joules,
        "low": used.low,
        "high": used.high,
        "origin": used.origin,
        "why": part.why,
    }
