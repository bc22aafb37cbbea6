"""What a model says of its validation split, as the live view has it: matrix, points, samples, and what a reader hears."""

from __future__ import annotations

import re

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.panels import LivePanel, predicted
from lepton_kit.panels.picture import picture_of
from lepton_kit.panels.sentences import curves_told, predictions_told
from lepton_kit.rundir.predictions import Predictions, packed, unpacked
from lepton_kit.training.logged import Predicted
from tests.panels.predicting import NOTHING, classified, labelled, run_on, tell, valued


@pytest.fixture
def panel():
    made = LivePanel()
    yield made
    made.close()


@pytest.fixture(scope="module")
def digits():
    return lk.data.sample("digits").prepare()


def test_the_panel_shows_the_last_validation_and_sends_pictures_once(panel, tmp_path, digits):
    run = run_on(tmp_path / "runs/demo", digits)
    run.advance(12)
    panel.attach(run)
    panel.detach()
    assert panel.predicted.value == panel.pictures.value == ""
    tell(run, classified(digits, 0.8))
    panel.update()
    first, pictures = panel.predicted.value, panel.pictures.value
    counts = run.view().predictions[-1].counts
    cells = re.findall(r"<td(?: class=[rz])?(?: style=\"--s:\d+\")?>(\d+)</td>", first)
    assert [int(one) for one in cells] == counts.ravel().tolist()
    assert pictures.count("data:image/png") == 8
    assert first.count('role="img"') == 8
    assert "data:image" not in first
    assert "After epoch 1: " in first
    run.advance(12)
    tell(run, classified(digits, 0.99), epoch=1)
    panel.update()
    assert panel.pictures.value == pictures
    assert "After epoch 2: " in panel.predicted.value
    panel.attach(run_on(tmp_path / "runs/other", digits))
    panel.detach()
    assert panel.predicted.value == "", "of another run nothing is told yet"


def test_what_was_told_of_steps_that_are_done_again_goes(tmp_path, digits):
    run = run_on(tmp_path / "runs/demo", digits)
    run.advance(12)
    tell(run, classified(digits))
    run.advance(12)
    tell(run, classified(digits, 0.9), epoch=1)
    run.step = 15
    run.reform(2, "worker 1: killed")
    assert [one.epoch for one in run.view().predictions] == [0]


def test_samples_are_named_where_the_data_cannot_be_read(panel, synthetic, digits):
    run = synthetic().begin()
    tell(run, classified(digits))
    panel.attach(run)
    panel.detach()
    assert "sample 0" in panel.predicted.value


def test_words_of_texts_figures_of_tables_and_names_are_escaped(panel, tmp_path):
    table = {"n<b>": np.arange(40.0), "bad": ["<i>no", "yes"] * 20}
    import pandas as pd

    prepared = lk.data.table(pd.DataFrame(table), target="bad").prepare()
    run = run_on(tmp_path / "runs/demo", prepared)
    tell(run, classified(prepared))
    panel.attach(run)
    panel.detach()
    assert "n&lt;b&gt;" in panel.predicted.value
    assert "&lt;i&gt;no" in panel.predicted.value
    assert "<i>" not in panel.predicted.value


def test_values_and_labels_have_their_own_forms():
    for tally, said in ((valued(300, 2), "<circle"), (labelled(90, ("a", "b")), "<td>a</td>")):
        event = Predicted(epoch=0, step=1, form=tally.form, **NOTHING | tally.told()).content
        shown = predicted.told(Predictions.of(event), lambda one: predicted.Markup(""))
        assert said in shown
    assert "Most often wrong: " in predictions_told(Predictions.of(event))


def test_a_reader_hears_how_much_is_right_and_what_is_confused(tmp_path, digits):
    run = run_on(tmp_path / "runs/demo", digits)
    run.advance(12)
    before = len(picture_of(run.view()))
    tell(run, classified(digits))
    seen = run.view().predictions[-1]
    told = predictions_told(seen)
    assert told.startswith(f"After epoch 1: {seen.right} of 360 validation samples right")
    assert told in curves_told(run.view())
    assert len(picture_of(run.view())) > before, "the still picture has the matrix"


def test_where_nothing_is_shown_the_panel_says_why(tmp_path):
    event = Predicted(epoch=0, step=1, form="none", why="the model has several outputs", **NOTHING).content
    shown = predicted.told(Predictions.of(event), lambda one: predicted.Markup(""))
    assert "no predictions are shown: the model has several outputs" in shown


@pytest.mark.parametrize("text", ["", "2x2:!!", "2x2:", "x:eJw=", f"{1 << 20}x{1 << 20}:eJw="])
def test_a_spoilt_map_is_refused(text):
    with pytest.raises(ValueError):
        unpacked(text)
    assert unpacked(packed(np.ones((2, 3, 4), np.uint8)))[0].shape == (3, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [[1]]},
        {"points": [[[1.0]]]},
        {"names": [1]},
        {"examples": [{}]},
        {"form": None},
        {"epoch": "x"},
    ],
)
def test_a_foreign_event_is_passed_over(tmp_path, digits, change):
    run = run_on(tmp_path / "runs/demo", digits)
    told = Predicted(epoch=0, step=1, form="classes", **NOTHING | classified(digits).told()).content
    run.write("predictions", **told | change)
    view = run.view()
    assert (len(view.predictions), view.misfits) == (0, 1)
