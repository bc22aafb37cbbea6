"""Cuts the batches of a run by what its workers turn out to be able to, while it trains."""

from __future__ import annotations

from lepton_kit.config import RunConfig
from lepton_kit.data.sharding import cut
from lepton_kit.planning.shares import Shares
from lepton_kit.runtime.generations import Generations
from lepton_kit.runtime.reports import Ledger
from lepton_kit.training import messages


class Balance:
    """Hears what ranks take for their parts, and asks for another cut where `Shares` finds one worth it."""

    def __init__(self, config: RunConfig, ring: Generations, ledger: Ledger):
        self._batch = config.training.global_batch
        self._ring, self._ledger = ring, ledger
        self._shares: tuple[int, Shares] | None = None
        self._promised: float | None = None

    def hear(self, told: messages.Paced) -> None:
        """What the ranks of a generation had and took a step, of late."""
        ring = self._ring
        if told.generation != ring.number or ring.phase != "training" or len(told.samples) < 2:
            return
        if self._shares is None or self._shares[0] != ring.number:
            self._shares, self._promised = (ring.number, Shares(self._batch, len(told.samples))), None
        shares = self._shares[1]
        if sum(told.samples) < self._batch:
            shares.aside(told.samples, told.seconds)
            return
        change = shares.look(told.samples, told.seconds)
        if self._promised is not None and shares.measured is not None:
            told_of = {"promised": round(self._promised, 3), "measured": round(shares.measured, 3)}
            self._ledger.append("gained", told_of)
            self._promised = None
        if change is None or cut(self._batch, change.weights) == tuple(told.samples):
            return
        self._promised = None if change.undoes else change.gain or None
        ring.learned = {
            member.worker: weight for member, weight in zip(ring.members, change.weights, strict=True)
        }
        weights = [float(weight) for weight in change.weights]
        ring.tell(messages.Weigh(generation=ring.number, weights=weights, gain=round(change.gain, 3)))
