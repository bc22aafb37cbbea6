"""Graphs of a block: traced once for any number of samples, and for a number of its own where that is faster and lasts."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_kit.config import RunConfig
from lepton_kit.data.proofs import PROOF_SIZE
from lepton_kit.training.job import expected_sizes
from lepton_kit.training.step import Block, Step
from lepton_kit.training.traces import MOST_TRACES, STEADY_BLOCKS, Traces, gains


def counted(fixed: bool) -> SimpleNamespace:
    """`Traces` of a function that sums, with the shapes it was traced for and the shape that each call had there."""
    shapes: list[int | None] = []

    def run(data: tf.Tensor) -> None:
        shapes.append(data.shape[0])

    def signature(rows: int | None) -> list[tf.TensorSpec]:
        return [tf.TensorSpec([rows], tf.float32)]

    traces = Traces(run, signature, fixed=fixed)
    return SimpleNamespace(traces=traces, shapes=shapes, zeros=lambda rows: (np.zeros(rows, np.float32),))


def test_expected_numbers_are_traced_before_the_first_block():
    found = counted(fixed=True)
    found.traces.warm({3, 2, 0}, found.zeros)
    assert found.shapes == [None, 2, 3]
    for rows in (3, 2, 5):
        found.traces.of(rows)(*found.zeros(rows))
    assert found.shapes == [None, 2, 3], "another number takes the graph for any"


def test_a_number_that_lasts_gets_a_graph_of_its_own():
    found = counted(fixed=True)
    found.traces.warm((), found.zeros)
    for _ in range(STEADY_BLOCKS):
        found.traces.of(4)(*found.zeros(4))
    assert found.shapes == [None]
    for _ in range(2):
        found.traces.of(4)(*found.zeros(4))
    assert found.shapes == [None, 4]


def test_there_are_never_many_graphs():
    found = counted(fixed=True)
    found.traces.warm(range(1, 40), found.zeros)
    assert len(found.shapes) == 1 + MOST_TRACES
    found.traces.of(1)
    for rows in (50, 60):
        for _ in range(STEADY_BLOCKS + 1):
            found.traces.of(rows)(*found.zeros(rows))
    assert found.shapes[-2:] == [50, 60]
    known = len(found.shapes)
    for _ in range(STEADY_BLOCKS + 1):
        found.traces.of(2)(*found.zeros(2))
    assert found.shapes[known:] == [2], "2 was needed longest ago, and has gone"
    for rows in (1, 50, 60):
        found.traces.of(rows)(*found.zeros(rows))
    assert len(found.shapes) == known + 1, "these are kept"


def test_where_it_gains_nothing_there_is_one_graph():
    found = counted(fixed=False)
    found.traces.warm({2, 3}, found.zeros)
    for _ in range(STEADY_BLOCKS + 2):
        found.traces.of(3)(*found.zeros(3))
    assert found.shapes == [None]


class Alone:
    """The sums of a ring of one rank."""

    def sum(self, means, totals, scale, gradients=()):
        return [*(tf.cast(mean, tf.float32) * scale for mean in means), *totals, *gradients]


def test_a_recurrent_model_computes_the_same_with_either_graph():
    def trained(sizes: set[int]) -> list[np.ndarray]:
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(4), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        assert gains(model)
        x = np.random.default_rng(0).normal(size=(3, 6, 5, 2)).astype(np.float32)
        y = x[:, :, 0, :1]
        step = Step(model, Alone(), (x[0, :2], y[0, :2], None), batch=6, sizes=sizes)
        step.warm()
        proofs = np.zeros((3, PROOF_SIZE), np.float32)
        step.train(Block(x, y, None, (None, None, None), proofs, 0, 0, 6, 6))
        return model.get_weights()

    for one, other in zip(trained(set()), trained({6}), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_models_without_recurrent_layers_need_no_fixed_number():
    assert not gains(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    assert gains(keras.Sequential([keras.Input((4, 2)), keras.layers.Bidirectional(keras.layers.GRU(2))]))


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"workers.count": 3}, {43, 42}),
        ({"workers.count": 2, "workers.weights": [3, 1]}, {96, 32}),
        ({"workers.count": 2, "workers.weights": [3, 1], "workers.expects": [1]}, {96, 32, 128}),
        ({"workers.count": "auto"}, set()),
        ({"workers.count": "auto", "workers.expects": [2, 200]}, {64}),
        ({"workers.count": 2, "workers.hosts": ["localhost/a", "localhost/b"]}, {64}),
    ],
)
def test_the_numbers_at_the_start_are_expected(options, sizes):
    config = RunConfig.from_dict(
        {
            "model": {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10},
            "data": {"kind": "sample", "name": "digits"},
        }
    )
    assert expected_sizes(config.replace(**{"training.global_batch": 128}, **options)) == sizes
