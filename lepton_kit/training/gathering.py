"""How the ranks of a new generation come together, and come to hold the state of one of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from lepton_kit.training import messages
from lepton_kit.training.channel import Channel
from lepton_kit.training.collective import HorovodCollective
from lepton_kit.training.handover import Handed, Handover


class Gathering:
    """One rank's way into one generation; `close` it when the rank has left.

    ``told`` gives what belongs to this rank's state beside the variables, ``take_up`` takes that of others. ``left`` is the
    generation that the rank has left by agreement, if it has.
    """

    def __init__(
        self,
        join: messages.Join,
        collective: HorovodCollective,
        channel: Channel,
        variables: Sequence[Any],
        told: Callable[[], Handed],
        take_up: Callable[[Handed], None],
        left: int | None = None,
    ):
        self._join, self._collective, self._channel = join, collective, channel
        self._told, self._take_up = told, take_up
        # Ranks of one machine that have taken each step together hold the same bits; devices of two kinds may round apart.
        self._left = left if collective.kind == "shared_memory" else None
        self._rank, self._size = join.membership.rank, join.membership.world_size
        shared = join.descriptor
        place = os.memfd_create("lepton-state") if shared is None else shared
        self._own = place if shared is None else None
        self._handover = Handover(place, join.state_place, variables, join.membership.generation)
        self._put = False
        self._follower, self._closing = ThreadPoolExecutor(1), threading.Event()
        self._following: Future[None] | None = None
        self.parts: dict[str, float] = {}
        """Seconds until the peers have ``joined``, in which the state was ``written``, and until they have ``taken`` it."""

    def come_together(self, holds_state: bool) -> None:
        """Join the ring; rank 0's state is written to the segment meanwhile. Raises `CollectiveError`.

        A rank that holds none takes it meanwhile, variable after variable, where there is a checkpoint: should rank 0 be
        lost with its state half taken, it could not begin the run any more.
        Who waits for a lost peer in Horovod may have to be killed: from its word that it joins on, and so not before the
        state that it holds is safe.
        """
        hands_over = self._rank == 0 and self._size > 1 and holds_state
        told = self._told() if hands_over else None
        generation = self._join.membership.generation

        def beside() -> None:
            if told is not None:
                self._hand_over(told)
            self._channel.send(messages.Joining(generation=generation))

        recoverable = self._join.checkpoint is not None or self._join.durable_step > 0
        joins = self._rank != 0 and not holds_state
        if joins and recoverable and self._shares and self._handover.followable:
            self._following = self._follower.submit(self._handover.follow, lambda: not self._closing.is_set())
        with self._timed("joined"), ThreadPoolExecutor(1) as thread:
            said = thread.submit(beside)
            self._collective.join(self._join.membership, self._join.descriptor)
            said.result()
        self._channel.send(messages.Joined(generation=generation))

    @property
    def spoils(self) -> bool:
        """Whether variables may hold a part of a state, or one of which the rest is missing."""
        return self._following is not None

    def share(self, load: Callable[[], Handed | None]) -> None:
        """All ranks come to hold rank 0's state, which may lie in the segment, or where it ``load``s it from."""
        if self._rank == 0 and self._join.handed:
            self._take_up(self._handover.take())
        elif self._rank == 0 and (loaded := load()) is not None:
            self._take_up(loaded)
        if self._size == 1:
            return
        if self._rank == 0 and not self._put:
            self._hand_over(self._told())
        with self._timed("taken"):
            self._pass_on()

    def _pass_on(self) -> None:
        self._agree()  # now it lies there
        if not self._shares:
            self._handover.send(self._collective, self._rank)
            self._agree()
        if self._following is not None:
            self._following.result()
        if self._rank != 0:
            self._take_up(self._handover.take(self._left))
        self._agree()  # now all have it

    def close(self) -> None:
        """Leave the ring, and give memory of its own back."""
        self._closing.set()
        self._follower.shutdown()
        self._collective.leave()
        if self._own is not None:
            os.close(self._own)

    def _hand_over(self, told: Handed) -> None:
        with self._timed("written"):
            self._handover.put(told, self._left)
        self._put = True
        about = {"step": told.step, "logged_epochs": told.logged_epochs}
        self._channel.send(messages.HandedOver(generation=self._join.membership.generation, **about))

    @property
    def _shares(self) -> bool:
        """Whether all ranks see the memory in which the state lies."""
        return self._join.membership.shared_size == self._size

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.parts[part] = round(time.perf_counter() - start, 4)

    def _agree(self) -> None:
        self._collective.agree(np.zeros(1, np.float32))
