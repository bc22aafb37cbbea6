"""The memory that the workers of a host share in one generation: the agent makes it, and passes it on with the order to join."""

from __future__ import annotations

import os
from dataclasses import replace

from lepton_kit.training import messages
from lepton_kit.training.collective import segment_bytes


class Segment:
    """One segment at a time: the ring of this host, then room for a state. Each generation gets a new one."""

    def __init__(self) -> None:
        self._generation: int | None = None
        self._descriptor: int | None = None

    def given(self, join: messages.Join) -> messages.Join:
        """The order with the segment of its generation, if its ranks share one."""
        member = join.membership
        if member.shared_size == 1:
            return join
        place = segment_bytes(member.shared_size, member.slot_bytes)
        if self._generation != member.generation:
            self.close()
            self._descriptor = os.memfd_create("lepton-ring", os.MFD_CLOEXEC)
            os.ftruncate(self._descriptor, place)
            self._generation = member.generation
        return replace(join, descriptor=self._descriptor, state_place=place)

    def close(self) -> None:
        """Give it back; workers that are in it still have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._generation = None
