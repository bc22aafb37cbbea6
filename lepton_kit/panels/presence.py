"""What is known of the pages that show a panel: whether one listens, and whether it has drawn what was sent. Pure."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import Enum

UNHEARD_SECONDS = 90.0
"""After this silence the page counts as closed. Browsers beat a hidden tab's clock only once a minute."""
PROBE_SECONDS = 30.0
"""How often a message is still sent then: the kernel may only have been busy, and deaf."""
DRAWN_SECONDS = 4.0
"""A page that has not drawn what was sent so long ago gets everything again."""
KEPT_VERSIONS = 64


class Send(Enum):
    """What is worth sending to the pages of a panel."""

    NOTHING = "nothing"
    CHANGES = "changes"
    EVERYTHING = "everything"


def worth_sending(now: float, heard: float, sent: float) -> Send:
    """Changes while a page was heard lately; else seldom, and then everything, for whoever may have come unheard.

    >>> worth_sending(now=100, heard=95, sent=99.5).value, worth_sending(now=100, heard=5, sent=99.5).value
    ('changes', 'nothing')
    >>> worth_sending(now=100, heard=5, sent=60).value
    'everything'
    """
    if now - heard <= UNHEARD_SECONDS:
        return Send.CHANGES
    return Send.EVERYTHING if now - sent >= PROBE_SECONDS else Send.NOTHING


class Presence:
    """Remembers when a page was heard and which versions were sent when.

    Without it, messages for a closed page pile up in the server for as long as the run goes on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.heard = clock()
        self._sent: deque[tuple[int, float]] = deque(maxlen=KEPT_VERSIONS)

    def hear(self) -> None:
        """A page has shown a sign of life, or is about to."""
        self.heard = self._clock()

    def sent(self, version: int) -> None:
        """A version has gone out."""
        self._sent.append((version, self._clock()))

    def behind(self, drawn: int) -> bool:
        """Whether a page that has drawn this version should have drawn a newer one by now."""
        due = self._clock() - DRAWN_SECONDS
        return any(version > drawn and when <= due for version, when in self._sent)

    def plan(self) -> Send:
        """What to send now, if there is something new."""
        last = self._sent[-1][1] if self._sent else float("-inf")
        return worth_sending(self._clock(), self.heard, last)
