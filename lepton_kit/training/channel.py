"""What a worker needs of its connection to the driver."""

from __future__ import annotations

from typing import Any, Protocol


class Channel(Protocol):
    """What a worker needs of its connection to the driver; messages are JSON-safe dictionaries."""

    def send(self, kind: str, **fields: Any) -> None: ...

    def take_commands(self) -> list[dict[str, Any]]:
        """Commands that came since the last call, without waiting."""

    def wait_for(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these kinds; others before it are kept for `take_commands`."""
