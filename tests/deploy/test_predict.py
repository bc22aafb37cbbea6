"""The predictor, with a small preprocessing and model of the test's own: order, problems, notes, batches, progress."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.data.array_input import ArrayForm, ArraysPreprocessing
from lepton_kit.data.preprocessing import Encoded, Preprocessing, Target
from lepton_kit.deploy.predict import Predictor
from lepton_kit.errors import ConfigError, DataError
from lepton_kit.models.answers import Answer


class Words(Preprocessing):
    """A word becomes its length; an empty one can't be read, one with a capital is noted."""

    kind: str = "words"

    def pieces(self, raw: Any, rows: int = 1024) -> Iterator[Encoded]:
        for start in range(0, len(raw), rows):
            part = raw[start : start + rows]
            good = [place for place, word in enumerate(part) if word]
            x = np.array([[len(part[place])] for place in good], np.float32) if good else None
            problems = {place: "an empty word" for place, word in enumerate(part) if not word}
            capitals = sum(word != word.lower() for word in part)
            notes = {"capitals were made small": capitals} if capitals else {}
            yield Encoded(tuple(part), x, np.array(good, np.int64), problems, notes)


def double(x: Any) -> list[np.ndarray]:
    return [2 * x]


VALUE = (Answer(task="regression"),)


def predictor(run: Any = double, answers: Any = VALUE, **more: Any) -> Predictor:
    return Predictor(Words(), answers, run, **more)


def test_rows_come_in_order_and_what_cannot_be_read_is_kept_and_named():
    found = predictor(about=["an older checkpoint"]).predict(["ab", "", "Abc"])
    assert list(found.index) == ["ab", "", "Abc"]
    assert found["value"].tolist()[::2] == [4.0, 6.0]
    assert np.isnan(found["value"].iloc[1])
    assert found["problem"].iloc[1] == "an empty word"
    assert found.attrs["notes"] == ["an older checkpoint", "capitals were made small (1 of 3 inputs)"]


def test_the_likeliest_classes_are_asked_for_by_number():
    answers = (Answer(task="classification", link="none", labels=("few", "some", "many")),)
    asked = predictor(lambda x: [np.repeat([[0.3, 0.1, 0.6]], len(x), axis=0)], answers)
    found = asked.predict(["ab", ""], top=2)
    assert list(found.columns) == ["class", "probability", "class_2", "probability_2", "problem"]
    assert found.iloc[0, :4].tolist() == ["many", 0.6, "few", 0.3]
    assert found.iloc[1, :4].isna().all()
    nothing = asked.predict([""], top=2)
    assert list(nothing.columns) == list(found.columns)
    with pytest.raises(ConfigError, match="top: got 0"):
        asked.predict(["ab"], top=0)
    with pytest.raises(ConfigError, match="top: got 2; expected none: this model gives no classes"):
        predictor().predict(["ab"], top=2)


@given(st.lists(st.sampled_from(["", "a", "bcd"]), min_size=1, max_size=40), st.integers(1, 7))
def test_how_input_is_cut_changes_nothing(words, batch):
    from lepton_kit.deploy import predict

    before = predict.MOST_ROWS
    predict.MOST_ROWS = 3
    try:
        found = predictor().predict(words, batch_size=batch)
    finally:
        predict.MOST_ROWS = before
    assert list(found.index) == words
    expected = [2.0 * len(word) if word else None for word in words]
    told = [None if value != value else value for value in found.get("value", [None] * len(words))]
    assert told == expected


def test_batches_are_no_larger_than_asked():
    sizes = []

    def run(x: Any) -> list[np.ndarray]:
        sizes.append(len(x))
        return [x]

    predictor(run).predict(["a"] * 10, batch_size=4)
    assert sizes == [4, 4, 2]


def test_input_without_a_finite_answer_becomes_a_problem():
    def run(x: Any) -> list[np.ndarray]:
        return [np.where(x == 2, np.nan, x)]

    found = predictor(run).predict(["a", "bb", "ccc"])
    assert found["problem"].tolist()[1] == "the model's output is not finite"
    assert found["value"].tolist()[::2] == [1.0, 3.0]


def test_several_outputs_get_columns_under_their_names():
    answers = (
        Answer(name="kind", task="classification", link="none"),
        Answer(name="size", task="regression"),
    )

    def run(x: Any) -> list[np.ndarray]:
        return [np.array([[0.25, 0.75]] * len(x)), x, x]

    found = predictor(run, answers).predict(["a"])
    assert {"kind_class", "kind_probability", "size_value", "output_2_output_0"} <= set(found.columns)


def test_nothing_readable_gives_rows_of_problems_and_nothing_at_all_is_refused():
    found = predictor().predict(["", ""])
    assert found["problem"].tolist() == ["an empty word"] * 2
    assert found["value"].isna().all()
    with pytest.raises(DataError, match="input: nothing to predict"):
        predictor().predict([])


def test_a_model_that_drops_rows_is_refused():
    with pytest.raises(DataError, match="gave 1 rows for 2 samples"):
        predictor(lambda x: [x[:1]]).predict(["a", "b"])


def test_options_are_checked_before_anything_runs():
    for name, value in (("workers", 0), ("workers", True), ("batch_size", 0), ("batch_size", 2.5)):
        with pytest.raises(ConfigError, match=f"{name}: got"):
            predictor().predict(["a"], **{name: value})
    with pytest.raises(ConfigError, match="workers: got 2; expected none: this model has no file"):
        predictor().predict(["a"], workers=2)


@pytest.mark.processes
def test_several_inputs_and_outputs_are_predicted_by_workers(tmp_path):
    import keras

    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    model = keras.Model({"a": a, "b": b}, [keras.layers.Dense(1)(a), keras.layers.Add()([b, b])])
    model.save(tmp_path / "model.keras")
    forms = (ArrayForm(key="a", shape=(2,), dtype="float32"), ArrayForm(key="b", shape=(1,), dtype="float32"))
    raw = {"a": np.random.default_rng(0).random((5, 2)), "b": np.arange(5.0)[:, None]}
    named = (Answer(name="one", task="regression"), Answer(name="two", task="regression"))
    several = Predictor(
        ArraysPreprocessing(inputs=forms), named, lambda x: [], file=lambda home: tmp_path / "model.keras"
    )
    found = several.predict(raw, workers=2)
    expected = model.predict(raw, verbose=0)
    np.testing.assert_allclose(found["one_value"], expected[0][:, 0], atol=1e-5)
    np.testing.assert_allclose(found["two_value"], expected[1][:, 0], atol=1e-5)


def test_progress_is_told_to_a_function():
    told = []
    predictor().predict(["a", "", "b"], batch_size=1, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_target_is_told_in_its_unit():
    words = Words(target=Target(task="regression", name="length", mean=(10.0,), scale=(2.0,)))
    assert Predictor(words, VALUE, double).predict(["ab"])["length"].tolist() == [18.0]


@pytest.mark.processes
def test_batches_of_many_sizes_are_no_mistake_that_tensorflow_has_to_warn_of() -> None:
    import logging

    import keras

    from lepton_kit.deploy.runners import of_keras

    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]  # a handler that keeps what it is told
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    try:
        run = of_keras(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
        for rows in range(1, 12):
            assert run(np.ones((rows, 1), np.float32))[0].shape == (rows, 1)
        logger.warning("another warning")
    finally:
        logger.removeHandler(handler)
    assert told == ["another warning"]


def test_worker_processes_answer_as_this_process_does(tmp_path: Path):
    import keras

    from lepton_kit.deploy.runners import of_keras

    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.save(tmp_path / "m.keras")
    words = ["a", "", "bcd", "ee"] * 5
    one = Predictor(Words(), VALUE, of_keras(network), file=lambda home: tmp_path / "m.keras")
    here, there = one.predict(words), one.predict(words, workers=2, batch_size=3)
    np.testing.assert_allclose(here["value"], there["value"], rtol=1e-6)
    assert here["problem"].isna().tolist() == there["problem"].isna().tolist()
    assert one.predict(["", ""], workers=1)["problem"].tolist() == ["an empty word"] * 2


@pytest.mark.parametrize(
    ("answer", "outputs", "columns"),
    [
        (
            Answer(task="classification", link="softmax", labels=("no", "yes"), shape=(2,)),
            2,
            ["class", "probability", "probability_no", "probability_yes"],
        ),
        (
            Answer(task="classification", link="sigmoid", labels=("no", "yes"), shape=(1,)),
            1,
            ["class", "probability", "probability_no", "probability_yes"],
        ),
        (Answer(task="classification", link="none", labels=("no", "yes")), 2, None),
        (Answer(task="regression", shape=(1,)), 1, ["length"]),
    ],
)
@pytest.mark.parametrize("bad", [["", ""], ["nan", "nan"]])
def test_a_prediction_in_which_nothing_is_readable_has_the_columns_of_any_other(
    answer, outputs, columns, bad
):
    def run(x: Any) -> list[np.ndarray]:
        return [np.where(x == 3, np.nan, 1.0) * np.ones((1, outputs))]

    words = Words(target=Target(task="regression", name="length"))
    good = Predictor(words, (answer,), run).predict(["a", ""])
    found = Predictor(words, (answer,), run).predict(bad)
    assert list(found.columns) == list(good.columns)
    assert columns is None or list(found.columns) == [*columns, "problem"]
    assert found.drop(columns="problem").isna().all(axis=None)
    assert found["problem"].notna().all()


def array_predictor(run: Any, answer: Answer, target: Target | None = None) -> Predictor:
    form = ArrayForm(shape=(2,), dtype="float32")
    return Predictor(ArraysPreprocessing(inputs=(form,), target=target or Target()), (answer,), run)


def logits(x: Any) -> list[np.ndarray]:
    return [np.log(np.asarray([[1.0, 3.0]])) + 0 * x]


@pytest.mark.parametrize(
    ("answer", "columns"),
    [
        (
            Answer(task="classification", link="softmax", labels=("no", "yes")),
            ["probability_no", "probability_yes"],
        ),
        (Answer(task="classification", link="score", labels=("no", "yes")), ["score_no", "score_yes"]),
        (Answer(task="multilabel", link="sigmoid", labels=("a", "b")), ["probability_a", "probability_b"]),
        (Answer(task="regression"), ["value_0", "value_1"]),
        (Answer(task="other"), ["output_0", "output_1"]),
    ],
)
def test_an_array_holds_the_numbers_of_the_frame(answer: Answer, columns: list[str]):
    target = Target(task="regression", mean=(1.0, 2.0), scale=(10.0, 20.0))
    tool = array_predictor(logits, answer, target if answer.task == "regression" else None)
    x = np.random.default_rng(0).normal(size=(7, 2))
    found = tool.predict_array(x, batch_size=3)
    assert found.shape == (7, 2)
    assert np.array_equal(found, tool.predict(x, batch_size=3)[columns].to_numpy())
    if answer.link == "softmax":
        assert np.allclose(found, [0.25, 0.75])


def test_long_input_is_cut_into_pieces_and_joined_again(monkeypatch):
    from lepton_kit.deploy import predict

    monkeypatch.setattr(predict, "MOST_ROWS", 4)
    x = np.arange(22, dtype=np.float32).reshape(11, 2)
    found = array_predictor(double, Answer(task="other")).predict_array(x, batch_size=3)
    assert np.array_equal(found, 2 * x)


def test_an_array_has_no_row_for_a_problem_so_it_is_an_error_that_names_the_input():
    tool = array_predictor(double, Answer(task="other"))
    with pytest.raises(DataError, match="input 1: x: a number that is not finite"):
        tool.predict_array([[0, 1], [np.nan, 1], [0, 0]])
    with (
        pytest.raises(DataError, match="input ab: the model's output is not finite"),
        np.errstate(divide="ignore"),
    ):
        predictor(lambda x: [x / (x - 2)]).predict_array(["a", "ab"])
    with pytest.raises(DataError, match="input : an empty word"):
        predictor().predict_array(["", ""])
    with pytest.raises(DataError, match="nothing to predict"):
        predictor().predict_array([])
    with pytest.raises(DataError, match="gave 1 rows for 2 samples"):
        predictor(lambda x: [x[:1]]).predict_array(["a", "b"])


def test_an_array_is_of_one_output():
    two = predictor(
        lambda x: [x, x], (Answer(task="regression", name="a"), Answer(task="regression", name="b"))
    )
    with pytest.raises(ConfigError, match=r"predict_array.*2 outputs"):
        two.predict_array(["a"])
