"""Where a rank's time goes: the clock beside known sleeps, alone, and in real rings on each path."""

from __future__ import annotations

import time

import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.training.clocks import Clock, Spent, Stopwatch


def slept(seconds: float) -> float:
    """Sleep; the seconds that it really took."""
    start = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - start


def test_a_clock_tells_reading_computing_and_sums_apart():
    inside, took = Stopwatch(), {}
    clock = Clock(lambda: inside.seconds)
    with clock.reading():
        took["data"] = slept(0.02)
    with clock.training():
        took["computed"] = slept(0.03)
        with inside.running():
            took["inside"] = slept(0.05)
    with inside.running():
        took["agreed"] = slept(0.01)
    data, computed, sums = clock.take()
    assert data == pytest.approx(took["data"], rel=0.05)
    assert computed == pytest.approx(took["computed"], rel=0.05)
    assert sums == pytest.approx(took["inside"] + took["agreed"], rel=0.05)
    assert clock.take().tolist() == [0, 0, 0]


@pytest.mark.parametrize("eager", [False, True])
def test_a_part_of_a_graph_is_timed_step_by_step(eager: bool):
    watch, took = Stopwatch(), []

    def rest(x: np.ndarray) -> np.ndarray:
        took.append(slept(0.02))
        return x

    def step(x: tf.Tensor) -> tf.Tensor:
        before = tf.numpy_function(lambda y: (slept(0.02), y)[1], [x], tf.float32)
        (result,) = watch.around([before], lambda tensors: [tf.numpy_function(rest, tensors, tf.float32)])
        return tf.numpy_function(lambda y: (slept(0.02), y)[1], [result], tf.float32)

    @tf.function
    def block(x: tf.Tensor) -> tf.Tensor:
        for _ in tf.range(5):
            x = tf.reshape(step(x), [])
        return x

    run = step if eager else block
    run(tf.constant(1.0))
    assert watch.seconds == pytest.approx(sum(took), rel=0.05)


def test_a_block_that_fails_counts_as_far_as_it_came():
    clock = Clock(lambda: 0.0)
    took = []

    def fail() -> None:
        with clock.training():
            took.append(slept(0.02))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert clock.take()[1] == pytest.approx(took[0], rel=0.05)


def test_the_last_one_into_a_sum_waits_for_nobody():
    spent = Spent.nothing(3)
    spent.add(np.array([[0, 1, 0.4], [0, 2, 0.2], [0.5, 0.5, 0.6]]))
    spent.add(np.array([[0, 1, 0.1], [0, 1, 0.2], [0, 1, 0.1]]))
    np.testing.assert_allclose(spent.waited, [0.2, 0.1, 0.4])
    assert spent.communicated == pytest.approx(0.3)
    np.testing.assert_allclose(spent.data, [0, 0, 0.5])
