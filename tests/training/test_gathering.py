"""A rank joins while its state is written, and says that it joins only once that is safe."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from lepton_kit.errors import CollectiveError
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.training import messages, native, state
from lepton_kit.training.gathering import Gathering
from lepton_kit.training.handover import Handed, Handover

HANDED = Handed(7, 0, np.zeros((0, state.HISTORY_COLUMNS)), b"")


class Ring:
    """Ranks that are always there; what happens while they come together is the test's."""

    kind = "shared_memory"

    def __init__(self, meanwhile: Any = None):
        self.meanwhile, self.left = meanwhile, False

    def join(self, membership: Any, segment: int | None = None) -> None:
        if self.meanwhile is not None:
            self.meanwhile()

    def agree(self, vector: np.ndarray) -> np.ndarray:
        return vector

    def leave(self) -> None:
        self.left = True


class Said:
    def __init__(self) -> None:
        self.messages: list[Any] = []

    def send(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def kinds(self) -> list[str]:
        return [type(one).__name__ for one in self.messages]


@pytest.fixture
def segment() -> Iterator[int]:
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


def gathering(
    ring: Any,
    said: Said,
    segment: int,
    rank: int = 0,
    *,
    handed: bool = False,
    left: int | None = None,
    shared: int = 2,
    durable: int = 5,
    checkpoint: str | None = None,
) -> Gathering:
    membership = replace(on_this_machine(2, ("127.0.0.1", 1))[rank], shared_size=shared)
    join = messages.Join(
        descriptor=segment, membership=membership, weights=[1.0, 1.0],
        state_place=1 << 16, handed=handed, checkpoint=checkpoint, reported_step=0, logged_epochs=0, durable_step=durable,
        log_seconds=1.0, learning_rate=None, paused=False,
    )  # fmt: skip
    variables = [keras.Variable(np.full(3, float(rank), "float32"))]
    taken: list[int] = []
    made = Gathering(join, ring, said, variables, lambda: HANDED, lambda told: taken.append(told.step), left)
    made._taken = taken  # type: ignore[attr-defined]  # a stand-in
    made.variables = variables  # type: ignore[attr-defined]  # a stand-in
    return made


def test_the_state_is_written_while_the_ring_forms(segment: int, monkeypatch: pytest.MonkeyPatch):
    written, put = threading.Event(), Handover.put

    def noted(self: Handover, told: Handed, left: int | None = None) -> None:
        put(self, told, left)
        written.set()

    monkeypatch.setattr(Handover, "put", noted)

    def meanwhile() -> None:
        assert written.wait(30), "it is written after the ring has formed"

    said = Said()
    coming = gathering(Ring(meanwhile), said, segment)
    coming.come_together(holds_state=True)
    assert said.kinds == ["HandedOver", "Joining", "Joined"]
    assert set(coming.parts) == {"joined", "written"}
    coming.share(lambda: None)
    assert said.kinds == ["HandedOver", "Joining", "Joined"]  # once is enough
    other = gathering(Ring(), Said(), segment, rank=1)
    other.come_together(holds_state=True)
    other.share(lambda: None)
    np.testing.assert_array_equal(np.asarray(other.variables[0]), np.zeros(3))  # type: ignore[attr-defined]  # a stand-in


def test_a_rank_without_state_takes_it_while_the_ring_forms(segment: int):
    if not native.available():
        pytest.skip("the native library is not built")
    first, said = gathering(Ring(), Said(), segment), Said()

    def meanwhile() -> None:
        first.come_together(holds_state=True)
        assert coming._following is not None
        coming._following.result(30)
        np.testing.assert_array_equal(np.asarray(coming.variables[0]), np.zeros(3))  # type: ignore[attr-defined]  # a stand-in

    coming = gathering(Ring(meanwhile), said, segment, rank=1)
    coming.come_together(holds_state=False)
    assert coming._taken == []  # type: ignore[attr-defined]  # what belongs to it comes once all is there
    coming.share(lambda: None)
    assert coming._taken == [HANDED.step]  # type: ignore[attr-defined]  # a stand-in
    coming.close()
    first.close()


def test_a_rank_whose_ring_does_not_form_follows_no_longer(segment: int):
    def broken() -> None:
        raise CollectiveError("a peer is gone")

    coming = gathering(Ring(broken), Said(), segment, rank=1)
    with pytest.raises(CollectiveError, match="gone"):
        coming.come_together(holds_state=False)
    coming.close()
    gathering(Ring(), Said(), segment).come_together(holds_state=True)
    assert coming._following is None or coming._following.done()
    np.testing.assert_array_equal(np.asarray(coming.variables[0]), np.ones(3))  # type: ignore[attr-defined]  # a stand-in


@pytest.mark.parametrize(
    ("rank", "holds_state", "options", "follows"),
    [
        (1, False, {}, True),
        (1, False, {"durable": 0, "checkpoint": "step-3"}, True),
        (1, False, {"durable": 0}, False),  # nothing to go back to, should the state be lost half taken
        (0, False, {}, False),
        (1, True, {}, False),
        (1, False, {"shared": 1}, False),
    ],
)
def test_only_a_rank_without_state_follows_where_all_share_memory_and_there_is_a_checkpoint(
    segment: int, rank: int, holds_state: bool, options: dict[str, Any], follows: bool
):
    coming = gathering(Ring(), Said(), segment, rank, **options)
    coming.come_together(holds_state)
    assert coming.spoils == (follows and native.available())
    coming.close()


def test_a_ring_that_does_not_form_is_left_only_when_the_state_is_written(segment: int):
    def broken() -> None:
        raise CollectiveError("a peer is gone")

    said, ring = Said(), Ring(broken)
    coming = gathering(ring, said, segment)
    with pytest.raises(CollectiveError, match="gone"):
        coming.come_together(holds_state=True)
    assert said.kinds == ["HandedOver", "Joining"]
    coming.close()
    assert ring.left


@pytest.mark.parametrize(("rank", "holds_state"), [(0, False), (1, True)])
def test_who_has_nothing_to_give_says_at_once_that_it_joins(segment: int, rank: int, holds_state: bool):
    said = Said()
    gathering(Ring(), said, segment, rank).come_together(holds_state)
    assert said.kinds == ["Joining", "Joined"]


@pytest.mark.parametrize(
    ("kind", "gave", "takes", "looked_at"),
    [
        ("shared_memory", 3, 3, False),
        ("shared_memory", 3, 2, True),  # it was not in the last ring
        ("shared_memory", 3, None, True),  # its ring broke, or it is new
        ("shared_memory", None, None, True),  # all their rings broke: one may be where others are not
        ("horovod", 3, 3, True),  # a CPU and a GPU, say
    ],
)
def test_only_who_took_each_step_beside_rank_0_keeps_what_it_has(
    segment: int, kind: str, gave: int | None, takes: int | None, looked_at: bool
):
    ring = Ring()
    ring.kind = kind
    first = gathering(ring, Said(), segment, left=gave)
    first.come_together(holds_state=True)
    first.share(lambda: None)
    other = gathering(ring, Said(), segment, rank=1, left=takes)
    other.come_together(holds_state=True)
    other.share(lambda: None)
    expected = np.zeros(3) if looked_at else np.ones(3)
    np.testing.assert_array_equal(np.asarray(other.variables[0]), expected)  # type: ignore[attr-defined]  # a stand-in


def test_what_was_handed_over_before_goes_before_a_checkpoint(segment: int):
    first = gathering(Ring(), Said(), segment, rank=0)
    first.variables[0].assign([5.0, 6.0, 7.0])  # type: ignore[attr-defined]  # a stand-in
    first.come_together(holds_state=True)
    asked: list[str] = []
    second = gathering(Ring(), Said(), segment, rank=0, handed=True)
    second.come_together(holds_state=False)
    second.share(lambda: asked.append("checkpoint"))  # type: ignore[arg-type, return-value]  # a stand-in
    np.testing.assert_array_equal(np.asarray(second.variables[0]), [5.0, 6.0, 7.0])  # type: ignore[attr-defined]  # a stand-in
    assert asked == []
