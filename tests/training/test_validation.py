"""What a run tells of its predictions is what plain Keras predicts, whatever the task and whoever has which rows."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from lepton_kit.data import arrays
from lepton_kit.models.answers import Answer
from lepton_kit.rundir import RunPaths
from lepton_kit.rundir.predictions import Predictions
from lepton_kit.training import job
from lepton_kit.training.tally import BASE, ClassTally, spread
from tests.training.harness import prepare, train

ROWS = 90


def predicted(folder, model, data, **options):
    """What the last epoch told of the validation split, the trained model, and that split."""
    config = prepare(folder, model, data, global_batch=16, epochs=2, **options)
    _, worker, channel = train(folder, config)
    told = channel.of("predictions")
    assert [one["epoch"] for one in told] == [0, 1]
    held = job.open_frozen(config, folder).validation
    return Predictions.of(told[-1]), worker._step.model, held


def network(*layers, shape=(4,), **compiled):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input(shape), *layers])
    if compiled:
        model.compile("adam", **compiled)
    return model


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(ROWS, *shape)).astype(np.float32)


def confusion(true, said, classes):
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (np.asarray(true).ravel(), np.asarray(said).ravel()), 1)
    return counts


@pytest.mark.parametrize(
    "metrics", [["accuracy"], [keras.metrics.MeanMetricWrapper(lambda y, p: p[:, 0] * 0)]]
)
def test_classes_are_counted_as_by_keras_also_where_predictions_are_gathered(tmp_path, metrics):
    y = np.random.default_rng(1).integers(0, 3, ROWS).astype(np.int32)
    data = arrays(rows(4), y, class_names=["ant", "bee", "cat"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = network(keras.layers.Dense(3), loss=loss, metrics=metrics)
    told, trained, held = predicted(tmp_path, model, data)
    logits = trained.predict(held.x, verbose=0)
    np.testing.assert_array_equal(told.counts, confusion(held.y, logits.argmax(1), 3))
    assert (told.form, told.names, told.counted) == ("classes", ("ant", "bee", "cat"), len(held))
    assert told.right == (logits.argmax(1) == held.y).sum()
    for one in told.examples:
        chances = np.exp(logits[one.row]) / np.exp(logits[one.row]).sum()
        assert one.true == told.names[held.y[one.row]]
        assert one.predicted == told.names[chances.argmax()]
        assert one.probability == pytest.approx(chances.max(), abs=1e-4)
        assert one.right == (one.true == one.predicted)
    assert [one.row for one in told.examples] == spread(len(held), 8).tolist()


def test_one_unit_stands_for_the_second_of_two_classes(tmp_path):
    y = (rows(1, seed=5)[:, 0] > 0).astype(np.float32)
    model = network(keras.layers.Dense(1, activation="sigmoid"), loss="binary_crossentropy")
    told, trained, held = predicted(tmp_path, model, arrays(rows(4), y))
    said = trained.predict(held.x, verbose=0)[:, 0] > 0.5
    np.testing.assert_array_equal(told.counts, confusion(held.y.astype(int), said.astype(int), 2))


def test_of_many_classes_the_log_has_the_most_confused_and_a_file_has_all(tmp_path):
    y = np.arange(ROWS, dtype=np.int32) % 30
    told, trained, held = predicted(tmp_path, network(keras.layers.Dense(30)), arrays(rows(4), y))
    whole = confusion(held.y, trained.predict(held.x, verbose=0).argmax(1), 30)
    with np.load(RunPaths(tmp_path).confusion(told.step)) as file:
        np.testing.assert_array_equal(file["counts"], whole)
        assert len(file["names"]) == 30
    assert len([*RunPaths(tmp_path).predictions.iterdir()]) == 1, "the epoch's before goes"
    np.testing.assert_array_equal(told.whole(RunPaths(tmp_path).confusion(told.step)).counts, whole)
    assert (told.counts.shape, told.others, told.counts.sum()) == ((21, 21), 10, len(held))
    assert told.right == np.trace(whole)


def test_each_place_of_a_label_map_counts_but_for_the_ignored_class(tmp_path):
    y = np.random.default_rng(2).integers(0, 3, (ROWS, 6, 5)).astype(np.int32)
    y[:, 0] = 2
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2)
    model = network(keras.layers.Conv2D(3, 1), shape=(6, 5, 2), loss=loss)
    told, trained, held = predicted(tmp_path, model, arrays(rows(6, 5, 2), y))
    said, true = trained.predict(held.x, verbose=0).argmax(-1), np.asarray(held.y)
    np.testing.assert_array_equal(told.counts, confusion(true[true != 2], said[true != 2], 3))
    assert told.form == "places"
    for one in told.examples:
        np.testing.assert_array_equal(one.places[0], true[one.row])
        np.testing.assert_array_equal(one.places[1], said[one.row])


def test_places_that_a_mask_leaves_out_do_not_count(tmp_path):
    x = np.random.default_rng(4).integers(1, 9, (ROWS, 7)).astype(np.int32)
    x[:, 5:] = 0
    y = (x % 2).astype(np.int32)
    layers = [keras.layers.Embedding(9, 4, mask_zero=True), keras.layers.LSTM(4, return_sequences=True)]
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((7,), dtype="int32"), *layers, keras.layers.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    told, trained, held = predicted(tmp_path, model, arrays(x, y))
    said = trained.predict(held.x, verbose=0).argmax(-1)
    np.testing.assert_array_equal(told.counts, confusion(held.y[:, :5], said[:, :5], 2))


def test_several_labels_a_sample(tmp_path):
    y = np.random.default_rng(6).integers(0, 2, (ROWS, 4)).astype(np.float32)
    model = network(keras.layers.Dense(4, activation="sigmoid"), loss="binary_crossentropy")
    told, trained, held = predicted(tmp_path, model, arrays(rows(4), y, task="multilabel"))
    said, true = trained.predict(held.x, verbose=0) > 0.5, held.y > 0.5
    wanted = np.stack([(said & true).sum(0), said.sum(0), true.sum(0)], axis=1)
    np.testing.assert_array_equal(told.counts, wanted)
    assert (told.form, told.right, told.counted) == ("labels", (said == true).sum(), true.size)


def test_values_are_told_in_their_own_unit(tmp_path):
    y = 300 + 50 * rows(1, seed=8)
    told, trained, held = predicted(tmp_path, network(keras.layers.Dense(1), loss="mse"), arrays(rows(4), y))
    assert (told.form, told.counted, len(told.points)) == ("values", len(held), 1)
    at = spread(len(held), 200)
    np.testing.assert_allclose(told.points[0][0], held.y[at, 0], rtol=1e-5)
    np.testing.assert_allclose(told.points[0][1], trained.predict(held.x, verbose=0)[at, 0], rtol=1e-4)


def test_where_nothing_can_be_shown_it_is_said_why(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"a": keras.layers.Dense(1)(inputs), "b": keras.layers.Dense(1)(inputs)})
    model.compile("adam", {"a": "mse", "b": "mse"})
    told, _, _ = predicted(tmp_path, model, arrays(rows(4), {"a": rows(1), "b": rows(1)}))
    assert told.form == "none"
    assert "several outputs" in told.why


class OwnTest(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(x)

    def test_step(self, data):
        return {"loss": keras.ops.mean(self(data[0]))}


def test_a_test_step_of_the_users_own_is_not_looked_into(tmp_path):
    y = np.random.default_rng(1).integers(0, 3, ROWS).astype(np.int32)
    model = OwnTest()
    model(rows(4)[:1])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    told, _, _ = predicted(tmp_path, model, arrays(rows(4), y))
    assert told.form == "none"
    assert "own code" in told.why


def test_counts_beyond_what_float32_holds_add_up_exactly():
    tallies = [ClassTally(Answer(task="classification", shape=(2,)), 10, 2) for _ in range(3)]
    for rank, one in enumerate(tallies):
        one.counts[:] = [[(1 << 34) + rank, 3], [BASE - 1, BASE]]
    whole = sum(one.counts for one in tallies)
    tallies[0].take(sum(one.vector for one in tallies))
    np.testing.assert_array_equal(tallies[0].counts, whole)
