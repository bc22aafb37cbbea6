"""Where the workers of a run stand by the word of its drivers, and which requests still count there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Moves:
    """The places that the drivers of a run began with, one after the other.

    >>> moves, requests = Moves(), [{"verb": "scale", "workers": 3}, {"verb": "set", "log_seconds": 2.0}]
    >>> moves.begin({"workers": 2, "hosts": None}, asked=0)
    >>> moves.standing(requests, {"workers": 2, "hosts": ["gpu-box:2"]})
    [{'verb': 'set', 'log_seconds': 2.0}]
    """

    def __init__(self) -> None:
        self._places: dict[str, Any] | None = None
        self._before = 0

    def begin(self, places: dict[str, Any] | None, asked: int) -> None:
        """A driver begins, after so many requests; None where the status tells of no driver that does."""
        if places is None:
            return
        if self._places not in (None, places):
            self._before = asked
        self._places = places

    def standing(self, requests: Sequence[dict[str, Any]], places: dict[str, Any]) -> list[dict[str, Any]]:
        """The requests that count for a driver of workers at these places: no number that was asked for where they stood before."""
        before = self._before if self._places in (None, places) else len(requests)
        return [one for k, one in enumerate(requests) if k >= before or one["verb"] != "scale"]
