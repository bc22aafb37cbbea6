"""Where a rank's time goes: the clock beside known sleeps, alone, and in real rings on each path."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.training.clocks import Clock, Spent, Stopwatch
from lepton_kit.training.slowness import Resting, Slowness


def slept(seconds: float) -> float:
    """Sleep; the seconds that it really took."""
    start = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - start


class FakeTime:
    """A clock that moves when somebody computes, sums or rests."""

    def __init__(self, slowness: Slowness, monkeypatch: pytest.MonkeyPatch):
        self.now, self.rests, self.inside = 100.0, [], 0.0
        monkeypatch.setattr("lepton_kit.training.slowness.time.perf_counter", lambda: self.now)
        monkeypatch.setattr(slowness._woken, "wait", self.rest)

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds

    def sum(self, seconds: float) -> None:
        self.now += seconds
        self.inside += seconds


def test_a_clock_tells_reading_computing_and_sums_apart(monkeypatch):
    fake, inside = FakeTime(Slowness(), monkeypatch), Stopwatch()
    clock = Clock(lambda: inside.seconds)
    with clock.reading():
        fake.now += 0.02
    with clock.training():
        fake.now += 0.03
        with inside.running():
            fake.now += 0.05
    with inside.running():
        fake.now += 0.01
    assert clock.take().tolist() == pytest.approx([0.02, 0.03, 0.06])
    assert clock.take().tolist() == [0, 0, 0]
    with inside.running():
        fake.now += 0.5
    clock.skip()
    assert clock.take().tolist() == [0, 0, 0], "what was summed beside the steps"


def test_what_a_slowed_worker_rests_counts_as_what_it_rests_for(monkeypatch):
    slowness, inside = Slowness(), Stopwatch()
    slowness.set(factor=3.0, data_seconds=0.01)
    fake = FakeTime(slowness, monkeypatch)
    clock = Clock(lambda: inside.seconds, slowness)
    with clock.reading(steps=3):
        fake.now += 0.02
    with clock.training():
        fake.now += 0.03
        with inside.running():
            fake.now += 0.05
    assert clock.take().tolist() == pytest.approx([0.05, 0.09, 0.05])
    assert clock.step_seconds == pytest.approx(0.19 / 3)
    slowness.set(factor=1.0, data_seconds=0.0)
    with clock.training():
        fake.now += 0.02
    assert clock.take()[1] == pytest.approx(0.02)


def test_a_rest_ends_when_it_is_undone():
    slowness = Slowness()
    slowness.set(factor=20.0)
    undo = threading.Timer(0.05, slowness.set, [1.0])
    undo.start()
    slowness.after_computing(1000.0)  # else for hours
    undo.join()
    slowness.after_computing(1000.0)
    assert slowness.factor == 1.0


@pytest.mark.parametrize("eager", [False, True])
def test_a_part_of_a_graph_is_timed_step_by_step(eager: bool):
    watch, took, beside = Stopwatch(), [], []

    def rest(x: np.ndarray) -> np.ndarray:
        took.append(slept(0.02))
        return x

    def other(x: np.ndarray) -> np.ndarray:
        beside.append(slept(0.02))
        return x

    def step(x: tf.Tensor) -> tf.Tensor:
        before = tf.numpy_function(other, [x], tf.float32)
        (result,) = watch.around([before], lambda tensors: [tf.numpy_function(rest, tensors, tf.float32)])
        return tf.numpy_function(other, [result], tf.float32)

    @tf.function
    def block(x: tf.Tensor) -> tf.Tensor:
        for _ in tf.range(5):
            x = tf.reshape(step(x), [])
        return x

    run = step if eager else block
    start = time.perf_counter()
    run(tf.constant(1.0))
    whole = time.perf_counter() - start
    assert len(beside) == 2 * len(took) == (2 if eager else 10)
    clocks = 1e-3  # TensorFlow's clock is another one than Python's
    assert sum(took) - clocks <= watch.seconds <= whole - sum(beside) + clocks


def test_a_block_that_fails_counts_as_far_as_it_came(monkeypatch):
    fake, clock = FakeTime(Slowness(), monkeypatch), Clock(lambda: 0.0)

    def fail() -> None:
        with clock.training():
            fake.now += 0.02
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert clock.take()[1] == pytest.approx(0.02)


def test_the_last_one_into_a_sum_waits_for_nobody():
    spent = Spent.nothing(3)
    spent.add(np.array([[0, 1, 0.4], [0, 2, 0.2], [0.5, 0.5, 0.6]]))
    spent.add(np.array([[0, 1, 0.1], [0, 1, 0.2], [0, 1, 0.1]]))
    np.testing.assert_allclose(spent.waited, [0.2, 0.1, 0.4])
    assert spent.communicated == pytest.approx(0.3)
    np.testing.assert_allclose(spent.data, [0, 0, 0.5])


def test_a_slowed_worker_rests_before_its_sums_and_pays_nothing_twice(monkeypatch):
    slowness = Slowness()
    slowness.set(factor=3.0)
    fake = FakeTime(slowness, monkeypatch)
    slowness.begin()
    fake.now += 7.0  # a graph is traced
    slowness.excuse(7.0)
    for _ in range(2):
        fake.now += 0.5
        slowness.before_sum()
        fake.sum(4.0)
        slowness.after_sum()
    fake.now += 0.25  # the update of the last step
    slowness.after_computing(fake.now - 100.0 - fake.inside)
    assert fake.rests == pytest.approx([1.0, 1.0, 0.5])


def test_a_slowed_step_rests_in_its_graph():
    class Sums:
        order: ClassVar[list[str]] = []

        def sum(self, means, totals, scale, gradients=()):
            def note(*values):
                Sums.order.append("sum")
                return values

            return list(tf.numpy_function(note, [*means, *totals, *gradients], [tf.float32] * 3))

    slowness = Slowness()
    slowness.before_sum = lambda: Sums.order.append("rest")
    slowness.after_sum = lambda: Sums.order.append("on")
    ring = Resting(Sums(), slowness)

    @tf.function
    def steps() -> tf.Tensor:
        one = tf.constant(1.0)
        for _ in tf.range(2):
            one, two, three = ring.sum([one], [one + 1], 1.0, [one + 2])
            one = tf.reshape(one + two * 10 + three * 100, [])
        return one

    assert steps().numpy() == 1 + 20 + 300 + 10 * 322 + 100 * 323
    assert Sums.order == ["rest", "sum", "on"] * 2
