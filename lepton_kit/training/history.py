"""What a worker remembers of its steps: losses and proofs, until the driver's log and a checkpoint hold them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lepton_kit.data import sharding
from lepton_kit.data.proofs import proof_values
from lepton_kit.training import state

MEMORY = 100_000
BatchSize = Callable[[int], int]


class History:
    """Steps in order, each with its global loss and the proof of what was fed; equal on every rank."""

    def __init__(self, batch_size: BatchSize):
        self._batch_size = batch_size
        self._entries: deque[tuple[int, float, np.ndarray]] = deque(maxlen=MEMORY)

    def extend(self, first: int, losses: np.ndarray, proofs: np.ndarray) -> None:
        """Add the steps from ``first`` on."""
        self._entries.extend((first + k, float(loss), proofs[k]) for k, loss in enumerate(losses))

    def since(self, step: int) -> list[tuple[int, float, np.ndarray]]:
        """The entries from a step on."""
        return [entry for entry in self._entries if entry[0] >= step]

    def replace(self, entries: Sequence[tuple[int, float, np.ndarray]]) -> None:
        """Take over what another rank or a checkpoint remembers."""
        self._entries = deque(entries, MEMORY)

    def array(self, since: int = 0) -> np.ndarray:
        """As `state.history_array`."""
        return state.history_array(self.since(since))

    def mean_loss(self, since: int) -> float | None:
        """Mean loss over the samples from a step on, as Keras' loss tracker has it; None without steps."""
        entries = self.since(since)
        if not entries:
            return None
        sizes = [self._batch_size(entry[0]) for entry in entries]
        return float(np.average([entry[1] for entry in entries], weights=sizes))

    def forget(self, before: int) -> None:
        """Drop steps that nobody will ask for; the last one stays."""
        while len(self._entries) > 1 and self._entries[0][0] < before:
            self._entries.popleft()

    def report(self, since: int, weights: Sequence[float]) -> dict[str, Any] | None:
        """The fields of a `steps` message; None if there is nothing new."""
        entries = self.since(since)
        if not entries:
            return None
        checksums, counts = proof_values(np.stack([entry[2] for entry in entries]))
        cuts = [sharding.cut(self._batch_size(entry[0]), weights) for entry in entries]
        return {
            "first": entries[0][0],
            "last": entries[-1][0] + 1,
            "loss": [finite(entry[1]) for entry in entries],
            "samples": [int(count) for count in np.sum(cuts, axis=0)],
            "fed": counts,
            "checksum": checksums,
        }


def finite(value: float) -> float | None:
    """A number as it can stand in JSON, in seven digits; None for what is no number.

    >>> finite(0.123456789), finite(float("nan"))
    (0.12345679, None)
    """
    return float(f"{value:.8g}") if np.isfinite(value) else None
