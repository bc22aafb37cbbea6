"""The table itself: it leaves out no class of Keras, its lines can fail, and docs/fit.md shows it as it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

from tests.conformance import harness
from tests.conformance.sections import callbacks, losses, metrics, optimizers
from tests.conformance.situations import SECTIONS, SITUATIONS
from tests.conformance.table import Data, Situation, exact, take


def classes(module: Any, *but: str) -> set[str]:
    """The names of all classes of a module of Keras, but base classes and the like."""
    return {name for name, value in vars(module).items() if inspect.isclass(value)} - set(but)


def test_every_loss_of_keras_stands_in_the_table():
    assert set(losses.KINDS) == classes(keras.losses, "Loss")


def test_every_optimizer_of_keras_stands_in_the_table():
    # MultiOptimizer and its map only divide the variables among others.
    named = {"SGD", "LossScaleOptimizer", "ScheduleFreeAdamW", *optimizers.KINDS}
    assert named == classes(keras.optimizers, "Optimizer", "MultiOptimizer", "OptimizerMap")


def test_every_metric_of_keras_stands_in_the_table():
    text = inspect.getsource(metrics)
    missing = {name for name in classes(keras.metrics, "Metric", "Mean", "Sum") if name not in text}
    assert not missing


def test_every_callback_of_keras_stands_in_the_table():
    text = inspect.getsource(callbacks)
    # RemoteMonitor needs a server, OrbaxCheckpoint and TensorBoard another package, and the rest does not act by itself.
    apart = ("Callback", "CallbackList", "ProgbarLogger", "RemoteMonitor", "OrbaxCheckpoint", "TensorBoard")
    assert not {name for name in classes(keras.callbacks, *apart) if name not in text}


def test_every_schedule_of_keras_stands_in_the_table():
    text = inspect.getsource(optimizers)
    schedules = classes(keras.optimizers.schedules, "LearningRateSchedule")
    assert not {name for name in schedules if f"S.{name}(" not in text}


def test_names_are_unique_and_enough():
    assert len({one.id for one in SITUATIONS}) == len(SITUATIONS) >= 150
    assert len(SITUATIONS) == sum(map(len, SECTIONS.values()))


def test_what_is_explained_or_refused_says_a_word():
    assert all(one.word for one in SITUATIONS if one.verdict != "exact")


def test_each_section_has_fast_situations():
    fast = [one for one in SITUATIONS if one.fast]
    assert 20 <= len(fast) <= 70


def test_docs_show_the_table(script: Callable[[str], ModuleType]):
    table = script("conformance_table")
    text = table.PAGE.read_text(encoding="utf-8")
    assert table.replaced(text, table.lines()) == text, "python scripts/conformance_table.py --write"


def test_a_page_without_markers_is_an_error(script: Callable[[str], ModuleType]):
    with pytest.raises(ValueError, match="markers"):
        script("conformance_table").replaced("nothing", "| a |")


# ---- the harness finds what it should


def line(**more: Any) -> Situation:
    return exact("line", lambda: None, Data(np.zeros((3, 1))), **more)


def outcome(weight: float, loss: float = 1.0, **more: Any) -> harness.Outcome:
    return harness.Outcome({"0 w": np.array([weight])}, {"0 w": np.array([0.0])}, {"loss": [loss]}, **more)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (outcome(1.0), ""),
        (outcome(1.0 + 9e-7), ""),
        (outcome(1.0 + 3e-6), "weights: 3.0e-06 apart"),
        (outcome(float("nan")), "weights: nan apart"),
        (outcome(1.0, 1.1), "history of loss: 1.0e-01 apart"),
        (outcome(1.0, float("nan")), "history of loss: nan apart"),
        (harness.Outcome({"0 w": np.array([1.0])}, {}, {}), "history lacks loss"),
    ],
)
def test_a_difference_is_found(found: harness.Outcome, words: str):
    wrong = harness.compare(found, outcome(1.0), outcome(1.0), line())
    assert words in "\n".join(wrong)
    assert bool(wrong) == bool(words)


def test_four_times_the_noise_of_plain_keras_is_allowed_and_no_more():
    noisy = outcome(1.0 + 1e-6)
    assert not harness.compare(outcome(1.0 + 3.9e-6), outcome(1.0), noisy, line())
    assert harness.compare(outcome(1.0 + 4.2e-6), outcome(1.0), noisy, line())


def test_a_situation_that_is_all_noise_is_an_error():
    wrong = harness.compare(outcome(1.0), outcome(1.0), outcome(1.1), line())
    assert "this situation can tell nothing" in wrong[0]


def test_callbacks_are_compared_in_numbers_and_words():
    plain = outcome(1.0, after=[1, "stop", None])
    situation = line(after=lambda callbacks, folder: None)
    assert not harness.compare(outcome(1.0, after=[1, "stop", None]), plain, plain, situation)
    for other in ([2, "stop", None], [1, "go", None], [1, "stop", 3]):
        assert harness.compare(outcome(1.0, after=other), plain, plain, situation)


def test_a_history_too_long_is_found():
    more = harness.Outcome({"0 w": np.array([1.0])}, {}, {"loss": [1.0, 0.5]})
    assert "history of loss" in harness.compare(more, outcome(1.0), outcome(1.0), line())[0]


def test_vectors_are_quantities_of_their_own():
    assert harness.numbers({"f1": [np.array([0.1, 0.2])], "a": [None]}) == {
        "f1_0": [0.1],
        "f1_1": [0.2],
        "a": [pytest.approx(float("nan"), nan_ok=True)],
    }


def test_rows_of_structures_are_taken_together():
    rows = np.arange(4)
    taken = take({"a": rows, "b": [rows, (rows, None)]}, np.array([3, 0]))
    assert taken["b"][1][0].tolist() == [3, 0]
    assert taken["b"][1][1] is None
    split = Data(rows, rows).split(0.3)
    assert split.x.tolist() == [0, 1]
    assert split.vx.tolist() == [2, 3]
