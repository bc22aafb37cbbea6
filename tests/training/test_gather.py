"""Rows of several ranks put together: values, masks, gradients and slices, by threads that stand for ranks."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from keras.src import backend

from lepton_kit.data import sharding
from lepton_kit.training.gather import Cut, gather, gather_slices, gather_structure
from lepton_kit.training.probe import MemoryRing

CUTS = ((1, 3), (4, 0), (2, 1, 1))


def on_ranks(cut, work):
    """Run ``work(ring, cut, rows, rank)`` on a thread per rank; rows holds the rank's places, or one for none."""
    ring, found, total = MemoryRing(len(cut)), [None] * len(cut), sum(cut)

    def run(rank):
        try:
            offset = sum(cut[:rank])
            rows = np.arange(offset, offset + cut[rank]) if cut[rank] else np.zeros(1, np.int64)
            place = Cut(np.float32(cut[rank] / total), offset, cut[rank], total)
            found[rank] = work(ring, place, rows, rank)
        except BaseException as failure:
            found[rank] = failure
            ring.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(cut))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found


@pytest.mark.parametrize("cut", CUTS)
def test_every_rank_gets_all_rows_in_order_and_in_their_type(cut):
    floats = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    numbers = np.array([7, -1, 3, 2**20], np.int64)

    def work(ring, place, rows, rank):
        return gather(ring, place, [tf.constant(floats[rows]), tf.constant(numbers[rows])])

    for whole, counts in on_ranks(cut, work):
        np.testing.assert_array_equal(whole, floats)
        np.testing.assert_array_equal(counts, numbers)
        assert counts.dtype == tf.int64


@pytest.mark.parametrize("cut", CUTS)
def test_gradients_of_the_scaled_losses_add_up_to_that_of_the_whole_batch(cut):
    """A loss that is no mean over samples: the step scales it by the rank's share and sums over ranks."""
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    w = np.random.default_rng(2).normal(size=(3, 2)).astype(np.float32)

    def loss_of(predicted):
        return tf.reduce_sum(predicted) ** 2 / tf.reduce_max(tf.abs(predicted))

    def work(ring, place, rows, rank):
        weights = tf.constant(w)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            (whole,) = gather(ring, place, [tf.constant(x[rows]) @ weights])
            loss = loss_of(whole) * place.scale
        gradient = tape.gradient(loss, weights)
        return ring.sum([], [tf.math.multiply_no_nan(gradient, float(place.rows > 0))], 1.0)[0]

    weights = tf.constant(w)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = loss_of(tf.constant(x) @ weights)
    expected = tape.gradient(loss, weights)
    for found in on_ranks(cut, work):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_structures_keep_their_form_and_masks_travel():
    def work(ring, place, rows, rank):
        value = tf.constant(np.arange(4, dtype=np.float32)[rows])
        backend.set_keras_mask(value, tf.constant(rows % 2 == 0))
        return gather_structure(ring, place, {"a": value, "b": (tf.constant(rows),)})

    for found in on_ranks((1, 3), work):
        assert sorted(found) == ["a", "b"]
        assert isinstance(found["b"], tuple)
        np.testing.assert_array_equal(backend.get_keras_mask(found["a"]), [True, False, True, False])


def test_nothing_to_gather_is_none():
    assert gather_structure(None, None, None) is None


def test_slices_of_an_embedding_come_in_the_order_of_the_batch():
    ids = np.array([[5, 5], [1, 0], [5, 2], [3, 3]])
    values = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)

    def work(ring, place, rows, rank):
        slices = tf.IndexedSlices(
            tf.constant(values[rows].reshape(-1, 3)), tf.constant(ids[rows].reshape(-1)), tf.constant([6, 3])
        )
        return gather_slices(ring, place, slices, 2)

    for cut in ((1, 3), (4, 0)):
        for found in on_ranks(cut, work):
            np.testing.assert_array_equal(found.indices, ids.reshape(-1))
            np.testing.assert_allclose(found.values, values.reshape(-1, 3), rtol=1e-6)


def test_a_place_is_the_one_that_sharding_cuts():
    assert [sum(sharding.cut(13, [1, 2])[:rank]) for rank in range(2)] == [0, 4]
