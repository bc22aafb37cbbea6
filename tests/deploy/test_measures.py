"""Cards of models that no plain accuracy judges: several inputs and outputs, named metrics, a test split."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_kit.data import arrays
from lepton_kit.deploy.report.job import run_job
from lepton_kit.deploy.report.job_file import Job
from lepton_kit.deploy.subject import find_home, find_subject, store_test
from lepton_kit.errors import CompressionError


def rows(value, part):
    return {key: array[part] for key, array in value.items()} if isinstance(value, dict) else value[part]


def a_job(model, x, y, folder, *, test=False, **changes) -> Job:
    """The first 140 rows train, 30 are held out, and 30 more may be the test."""
    train, held, last = slice(0, 140), slice(140, 170), slice(170, 200)
    data = arrays(rows(x, train), rows(y, train), validation=(rows(x, held), rows(y, held)))
    home = find_home(model, folder)
    path, stored = find_subject(model, data, home)
    values = {"fine_tune_epochs": 1, "repetitions": 3, "memory": False, "energy": False}
    tested = str(store_test((rows(x, last), rows(y, last)), home)) if test else None
    return Job(str(home), str(path), str(stored), test=tested, **{**values, **changes})


@pytest.mark.processes
def test_several_inputs_and_outputs_with_a_test_split_that_the_search_does_not_see(workshop, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    a, b = keras.Input((6,), name="a"), keras.Input((4,), name="b")
    h = keras.layers.Dense(32, activation="relu")(keras.layers.Concatenate()([a, b]))
    which = keras.layers.Dense(3, activation="softmax", name="which")(h)
    model = keras.Model({"a": a, "b": b}, [which, keras.layers.Dense(1, name="much")(h)])
    x = {name: random.normal(size=(200, size)).astype("float32") for name, size in (("a", 6), ("b", 4))}
    y = {"which": x["a"][:, :3].argmax(1), "much": x["b"][:, :1].copy()}
    losses = {"which": "sparse_categorical_crossentropy", "much": "mse"}
    model.compile("adam", losses, metrics={"which": ["accuracy"], "much": ["mae"]})
    model.fit(rows(x, slice(0, 140)), rows(y, slice(0, 140)), epochs=5, verbose=0)
    job = a_job(model, x, y, tmp_path, test=True, quantize=("int8", "int4"), structured=(0.5,), max_drop=0.9)
    card = run_job(job, workshop)
    assert [row.error for row in card.rows] == [None] * len(card.rows)
    outputs = model.predict(rows(x, slice(170, 200)), verbose=0)
    truth = y["which"][170:]
    assert card.metric == "accuracy of which"
    assert card.held_out == 30
    assert card["keras"].get("score") == pytest.approx((outputs[0].argmax(1) == truth).mean())
    error = np.abs(outputs[1] - y["much"][170:]).mean()
    assert card["keras"].get("own: mean absolute error of much") == pytest.approx(error, rel=1e-4)
    assert card["keras"].get("own: much_mae") == pytest.approx(error, rel=1e-4)
    assert "much_mae" in card.table().columns
    assert "the card reports the test samples" in card.settings["choice"]
    assert card.best is not None
    assert card["int8"].get("departure") is None
    assert card["float32"].get("departure") < 1e-5
    small = card["structured-50+float32"]
    assert small.get("parameters") < 0.7 * card["float32"].get("parameters") == 0.7 * model.count_params()


@pytest.mark.processes
def test_a_bound_on_a_named_metric_and_rows_that_say_what_they_are(workshop, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(200, 8)).astype("float32")
    y = (x[:, :3] > 0).astype(np.float32)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=[keras.metrics.AUC(name="area", multi_label=True)])
    model.fit(x[:140], y[:140], epochs=20, verbose=0)
    job = a_job(
        model, x, y, tmp_path, quantize=("dynamic_int8", "int8"), metric="area", max_drop=0.05, relative=False
    )
    card = run_job(job, workshop)
    assert (card.metric, card.higher_is_better) == ("area", True)
    area = keras.metrics.AUC(multi_label=True)
    area.update_state(y[140:170], model.predict(x[140:170], verbose=0))
    assert card["keras"].get("score") == pytest.approx(float(area.result()), abs=1e-5)
    low, high = card["keras"].figures["score"].low, card["keras"].figures["score"].high
    assert low < card["keras"].get("score") < high
    assert any(note.startswith("nothing in this file is dynamic_int8") for note in card["dynamic_int8"].notes)
    assert not any("nothing in this file" in note for note in card["int8"].notes)


@pytest.mark.processes
def test_one_cause_a_row_and_a_model_that_answers_nan_is_told_at_once(workshop, tmp_path):
    import keras

    x = np.random.default_rng(0).normal(size=(200, 8, 4)).astype("float32")
    y = np.arange(200) % 3
    memory = keras.Sequential(
        [
            keras.Input((None, 4)),
            keras.layers.LSTM(4, name="loops"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    memory.compile("adam", "sparse_categorical_crossentropy")
    card = run_job(a_job(memory, x, y, tmp_path / "a", quantize=("int8",)), workshop)
    assert "impossible for the recurrent layer 'loops'" in card["int8"].error
    assert card["float32"].error is None
    broken = keras.Sequential([keras.Input((8, 4)), keras.layers.Flatten(), keras.layers.Dense(3)])
    broken.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    broken.layers[-1].kernel.assign(np.full((32, 3), np.nan))
    with pytest.raises(CompressionError, match="the model answered NaN or infinity for 30 of 30 samples"):
        run_job(a_job(broken, x, y, tmp_path / "b", quantize=("int8",)), workshop)


@pytest.mark.processes
def test_kernels_that_stayed_dense_are_on_the_card(workshop, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    frozen, odd = layers.Dense(16, name="frozen", trainable=False), layers.Dense(3, name="odd")
    model = keras.Sequential([keras.Input((8,)), frozen, layers.Dense(15, name="pruned"), odd])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).normal(size=(200, 8)).astype("float32")
    job = a_job(model, x, x[:, :3].argmax(1), tmp_path, quantize=("int8",), sparsity=(0.5,), pattern="2:4")
    card = run_job(job, workshop)
    for row in card.rows:
        dense = [note for note in row.notes if note.startswith("left dense")]
        assert [note.split(":")[1].split()[0] for note in dense] == (
            ["frozen", "odd"] if row.sparsity else []
        )
    sparse = next(row for row in card.rows if row.sparsity and row.precision == "int8")
    assert sparse.get("nonzero_parameters") < sparse.get("parameters") <= model.count_params()


@pytest.mark.processes
def test_a_search_in_which_no_format_can_be_made_says_why_on_each_row(workshop, tmp_path):
    import keras

    x = keras.Input((8,))
    y = keras.layers.Dense(3, activation="softmax")(keras.ops.erfinv(x))
    model = keras.Model(x, y)
    model.compile("adam", "sparse_categorical_crossentropy")
    given = np.random.default_rng(0).uniform(-0.9, 0.9, (200, 8)).astype("float32")
    job = a_job(
        model,
        given,
        np.arange(200) % 3,
        tmp_path,
        quantize=("int8", "int4"),
        max_drop=0.01,
        structured=(0.5,),
    )
    card = run_job(job, workshop)
    assert card.best is None
    assert card["keras"].get("latency_1_one") > 0
    assert "the converter does not support the operation" in card["float32"].error
    assert "the converter does not support the operation" in card["int8"].error
    assert card["int4"].error == "it is made from the float32 file, which could not be made"
