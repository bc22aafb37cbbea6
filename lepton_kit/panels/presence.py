"""Tells whether a page shows a panel: the page sends a beat now and then, and silence means that nobody looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

BEAT_SECONDS = 10
UNHEARD_SECONDS = 90.0
"""After this silence the page counts as closed. Browsers beat a hidden tab's clock only once a minute."""
PROBE_SECONDS = 30.0
"""How often a message is still sent then: the kernel may only have been busy, and deaf."""

_ESM = f"""
export default {{
  render({{ model }}) {{
    const beat = () => {{ model.set("beat", Date.now() / 1000); model.save_changes(); }};
    model.set("arrivals", model.get("arrivals") + 1);
    beat();
    const clock = setInterval(beat, {BEAT_SECONDS * 1000});
    return () => clearInterval(clock);
  }},
}};
"""


def may_send(now: float, heard: float, sent: float) -> bool:
    """Whether a message is worth sending: freely while a page was heard lately, seldom otherwise.

    >>> may_send(now=100, heard=95, sent=99.5), may_send(now=100, heard=5, sent=99.5), may_send(100, 5, 60)
    (True, False, True)
    """
    return now - heard <= UNHEARD_SECONDS or now - sent >= PROBE_SECONDS


class Presence:
    """Holds an invisible widget whose page beats; `may_send` says whether messages have a reader.

    Without it, messages for a closed page pile up in the server for as long as the run goes on. ``on_arrival`` is
    called whenever a page begins to show the panel.
    """

    def __init__(self, on_arrival: Callable[[], None]) -> None:
        import anywidget
        import traitlets

        class Beat(anywidget.AnyWidget):
            _esm = _ESM
            beat = traitlets.Float(0.0).tag(sync=True)
            arrivals = traitlets.Int(0).tag(sync=True)

        self.widget: Any = Beat()
        self.widget.layout.display = "none"
        self.widget.observe(lambda _: self.hear(), names="beat")
        self.widget.observe(lambda _: on_arrival(), names="arrivals")
        self.heard = time.monotonic()
        self._sent = float("-inf")

    def hear(self) -> None:
        """A page has shown a sign of life, or is about to."""
        self.heard = time.monotonic()

    def may_send(self) -> bool:
        """True if a message should be sent now; the caller then sends it."""
        now = time.monotonic()
        if not may_send(now, self.heard, self._sent):
            return False
        self._sent = now
        return True
