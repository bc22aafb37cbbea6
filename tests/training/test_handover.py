"""A state that is handed over arrives bit for bit, whole or not at all, and is independent of where it lay."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.errors import RunError
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.training import handover, native, state
from lepton_kit.training.handover import Handed, Handover

PLACE = 1 << 16
HANDED = Handed(7, 2, np.arange(16.0).reshape(2, 8), b"callbacks")


@pytest.fixture(autouse=True, params=["in the memory that is there", "assigned"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the native library, and as it is on a GPU or without that."""
    if request.param == "assigned":
        monkeypatch.setattr(native, "available", lambda: False)
    elif not native.available():
        pytest.skip("the native library is not built")
    return str(request.param)


@pytest.fixture
def segment() -> Iterator[int]:
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


def some(fill: float = 0.0) -> list[Any]:
    return [
        keras.Variable(np.full((3, 5), fill, "float32")),
        tf.Variable(int(fill), dtype=tf.int64),
        keras.Variable(np.full((2,), fill), dtype="bfloat16"),
        tf.Variable(bool(fill)),
        keras.Variable(np.zeros((0, 4), "float32")),
        keras.Variable(np.array([fill, -0.0, np.nan, np.inf], "float64")),
    ]


def raw(variables: list[Any]) -> list[bytes]:
    return [array.tobytes() for array in state.capture(variables)]


def test_what_was_put_is_taken_bit_for_bit_with_all_that_belongs_to_it(segment: int):
    given, taken = some(1.5), some()
    Handover(segment, PLACE, given).put(HANDED)
    found = Handover(segment, PLACE, taken).take()
    assert raw(taken) == raw(given)
    assert (found.step, found.logged_epochs, found.callbacks) == (7, 2, b"callbacks")
    np.testing.assert_array_equal(found.history, HANDED.history)


def test_who_left_the_same_ring_by_agreement_gets_what_belongs_to_the_state_and_keeps_its_variables(
    segment: int,
):
    Handover(segment, PLACE, some(1.5)).put(HANDED, left=4)
    taken = some(2.5)
    before = raw(taken)
    assert Handover(segment, PLACE, taken).take(left=4).callbacks == b"callbacks"
    assert raw(taken) == before
    Handover(segment, PLACE, taken).take(left=3)
    assert raw(taken) == raw(some(1.5))


class Watched:
    """A hand-over in which a test is told after each variable that was put."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, put: Handover, seen: Callable[[int], None]):
        fill = put._fill

        def told(arrays: Any) -> Iterator[int]:
            for there in fill(arrays):
                yield there
                seen(there)

        monkeypatch.setattr(put, "_fill", told)


def test_a_rank_that_follows_takes_each_variable_once_it_is_put_and_none_before(
    segment: int, way: str, monkeypatch: pytest.MonkeyPatch
):
    given, taken = some(1.5), some(2.5)
    puts, follows = (
        Handover(segment, PLACE, given, generation=3),
        Handover(segment, PLACE, taken, generation=3),
    )
    assert follows.followable == (way != "assigned")
    before, expected = raw(taken), raw(given)
    looks: list[int] = []
    there = follows._there

    def looked() -> int:
        looks.append(there())
        return looks[-1]

    monkeypatch.setattr(follows, "_there", looked)
    stopped = threading.Event()
    thread = threading.Thread(target=follows.follow, args=(lambda: not stopped.is_set(),))

    def seen(count: int) -> None:
        if count < len(given):
            so_far = len(looks)  # the second look from here on comes after all that the first one found
            while len(looks) < so_far + 3 and thread.is_alive():
                time.sleep(0.001)
            assert raw(taken) == expected[:count] + before[count:]

    Watched(monkeypatch, puts, seen)
    thread.start()
    try:
        puts.put(HANDED)
        thread.join(60)
        assert not thread.is_alive()
    finally:
        stopped.set()
        thread.join()
    assert raw(taken) == expected
    taken[0].assign(np.zeros((3, 5)))
    assert follows.take().callbacks == b"callbacks"
    assert raw(taken)[0] == np.zeros((3, 5), "float32").tobytes()  # what was followed is not read again


def test_what_another_generation_has_put_is_not_followed(segment: int):
    Handover(segment, PLACE, some(1.5), generation=2).put(HANDED)
    taken, looks = some(2.5), iter([True, True, True, False])
    before = raw(taken)
    follows = Handover(segment, PLACE, taken, generation=3)
    follows.follow(lambda: next(looks))
    assert raw(taken) == before
    assert follows.take().step == 7
    assert raw(taken) == raw(some(1.5))  # who has not followed to the end takes all


def test_a_segment_without_room_for_a_state_is_followed_in_vain(segment: int):
    looks = iter([True, True, False])
    Handover(segment, PLACE, some(1.5), generation=3).follow(lambda: next(looks))


def test_who_is_told_to_stop_between_two_variables_takes_no_more(segment: int):
    Handover(segment, PLACE, some(1.5), generation=3).put(HANDED)
    taken, looks = some(2.5), iter([True, True, True, False, False])
    follows = Handover(segment, PLACE, taken, generation=3)
    follows.follow(lambda: next(looks))
    assert raw(taken) == raw(some(1.5))[:2] + raw(some(2.5))[2:]
    follows.take()
    assert raw(taken) == raw(some(1.5))


def test_the_sign_of_a_zero_is_handed_over_too(segment: int):
    given, taken = [keras.Variable(np.array([-0.0], "float32"))], [keras.Variable(np.zeros(1, "float32"))]
    Handover(segment, PLACE, given).put(HANDED)
    Handover(segment, PLACE, taken).take()
    assert np.signbit(taken[0].numpy()[0])


def test_what_was_taken_does_not_change_with_the_segment(segment: int):
    given, taken = some(1.5), some()
    Handover(segment, PLACE, given).put(HANDED)
    Handover(segment, PLACE, taken).take()
    before = raw(taken)
    os.pwrite(segment, b"\xff" * 1000, PLACE + 4096)
    os.ftruncate(segment, PLACE)
    assert raw(taken) == before


def test_a_state_that_was_not_put_whole_is_not_taken(segment: int, monkeypatch):
    taken = some()
    with pytest.raises(RunError, match="not whole"):
        Handover(segment, PLACE, taken).take()
    given = Handover(segment, PLACE, some(1.5))
    given.put(HANDED)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(given, "_fill", killed)
    with pytest.raises(KeyboardInterrupt):
        given.put(HANDED)
    with pytest.raises(RunError, match="not whole"):
        Handover(segment, PLACE, taken).take()


def at(variable: Any) -> int:
    """Where the value lies; nobody holds it afterwards."""
    return int(state.capture([variable])[0].ctypes.data)


def test_what_is_taken_lies_where_the_variable_has_its_memory(segment: int, way: str):
    given, taken = (
        [keras.Variable(np.ones(1 << 20, "float32"))],
        [keras.Variable(np.zeros(1 << 20, "float32"))],
    )
    taken[0].assign_add(np.zeros(1 << 20))  # else its first value belongs to whoever made it
    before = at(taken[0])
    Handover(segment, PLACE, given).put(HANDED)
    Handover(segment, PLACE, taken).take()
    assert raw(taken) == raw(given)
    assert way == "assigned" or at(taken[0]) == before


def test_a_value_that_a_checkpoint_still_holds_does_not_change_when_another_is_taken(segment: int):
    given, taken = some(1.5), some(2.5)
    held = state.capture(taken)
    before = [array.tobytes() for array in held]
    Handover(segment, PLACE, given).put(HANDED)
    Handover(segment, PLACE, taken).take()
    assert [array.tobytes() for array in held] == before
    assert raw(taken) == raw(given)


@pytest.mark.parametrize("differs", [0, 100_000, (1 << 20) - 1])
def test_what_differs_late_is_found_and_what_is_equal_is_not_written(segment: int, differs: int):
    numbers = np.random.default_rng(0).random(1 << 20, "float32")
    given, taken = [keras.Variable(numbers)], [keras.Variable(numbers)]
    changed = numbers.copy()
    changed[differs] = -1
    taken[0].assign(changed)
    Handover(segment, PLACE, given).put(HANDED)
    Handover(segment, PLACE, taken).take()
    assert raw(taken) == raw(given)
    held = state.capture(taken)[0]
    Handover(segment, PLACE, taken).take()
    assert at(taken[0]) == held.ctypes.data  # still the same memory, though somebody held it


def test_a_state_whose_end_is_missing_is_refused(segment: int):
    Handover(segment, PLACE, some(1.5)).put(HANDED)
    os.ftruncate(segment, PLACE + 4096 + 70)
    with pytest.raises((RunError, tf.errors.DataLossError), match=r"not whole|fewer bytes"):
        Handover(segment, PLACE, some()).take()


@pytest.mark.parametrize("limited", [False, True])
def test_a_state_of_more_than_a_piece_is_whole_also_where_the_size_of_files_is_limited(
    segment: int, monkeypatch: pytest.MonkeyPatch, limited: bool
):
    monkeypatch.setattr(handover, "PIECE_BYTES", 5000)
    if limited:
        monkeypatch.setattr(resource, "getrlimit", lambda kind: (1000, 1000))
        monkeypatch.delattr(os, "pwrite")
    numbers = np.random.default_rng(0).random(30_001, "float32")
    given, taken = [keras.Variable(numbers)], [keras.Variable(np.zeros(30_001, "float32"))]
    Handover(segment, PLACE + 4096, given).put(HANDED)
    assert Handover(segment, PLACE + 4096, taken).take().callbacks == HANDED.callbacks
    assert raw(taken) == raw(given)


def test_what_is_captured_stays_as_it_was_and_costs_no_copy():
    variables = some(1.5)
    captured = state.capture(variables)
    before = [array.tobytes() for array in captured]
    assert not any(array.flags.owndata for k, array in enumerate(captured) if k != 2)  # all but bfloat16
    variables[0].assign_add(np.ones((3, 5)))
    variables[1].assign_sub(1)
    tf.function(lambda: variables[0].assign(variables[0] * 2))()
    assert [array.tobytes() for array in captured] == before
    assert variables[0].numpy()[0, 0] == 5.0


def test_where_no_memory_is_shared_the_state_travels_through_the_collective(segment: int, monkeypatch):
    monkeypatch.setattr(handover, "SENT_BYTES", 1000)  # more than one piece
    given, taken, other = some(1.5), some(), os.memfd_create("other")
    sent: list[np.ndarray] = []
    lengths: list[np.ndarray] = []

    class First:
        membership = on_this_machine(2, ("127.0.0.1", 1))[0]

        def agree(self, told: np.ndarray) -> np.ndarray:
            lengths.append(told)
            return told

        def broadcast_to_leaders(self, piece: np.ndarray) -> np.ndarray:
            sent.append(piece.copy())
            return piece

    class Second:
        membership = on_this_machine(2, ("127.0.0.1", 1))[1]

        def agree(self, told: np.ndarray) -> np.ndarray:
            return told + lengths.pop(0)

        def broadcast_to_leaders(self, piece: np.ndarray) -> np.ndarray:
            assert piece.shape == sent[0].shape
            return sent.pop(0)

    Handover(segment, PLACE, given).put(HANDED)
    Handover(segment, PLACE, given).send(First(), 0)
    assert len(sent) > 1
    Handover(other, PLACE, taken).send(Second(), 1)
    assert Handover(other, PLACE, taken).take().step == 7
    assert raw(taken) == raw(given)
    os.close(other)
