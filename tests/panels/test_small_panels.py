import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lepton_kit as lk
from lepton_kit.data.sharding import batch_size, steps_per_epoch
from lepton_kit.errors import ConfigError, ModelError
from lepton_kit.panels import (
    CompressionPanel,
    DevicePanel,
    ShardingPanel,
    TrainingPanel,
)
from lepton_kit.panels.compression import impossible
from lepton_kit.panels.data_model import model_for
from lepton_kit.panels.described import class_bar
from lepton_kit.panels.parts import Panel, table
from lepton_kit.panels.sharding import explain_cut


def test_sharding_panel_draws_the_cut():
    panel = ShardingPanel(workers=3, max_workers=8)
    assert "43 + 43 + 42" in panel.explanation.value
    assert panel.settings()["workers"] == 3
    panel.global_batch.value = 2
    text = "global_batch: got 2; expected at least one sample for each of 3 workers"
    assert (panel.global_batch.problem, panel.workers.problem) == (text, "")
    assert panel.picture_of_cut.value == ""
    panel.global_batch.value = 90
    assert panel.global_batch.problem == ""
    panel.know(2)
    assert panel.workers.problem == "workers: got 3; expected at most the 2 training samples"
    panel.know(None)
    assert "30 + 30 + 30" in panel.explanation.value
    assert repr(panel) == "<ShardingPanel: 3 workers, global batch 90>"
    panel.close()


@given(st.integers(1, 2000), st.integers(1, 40), st.integers(1, 5000) | st.none())
def test_the_sentence_about_a_batch_is_true_for_every_input(global_batch, workers, samples):
    wrong = "global_batch" if global_batch < workers else "workers" if samples and workers > samples else None
    if wrong is not None:
        with pytest.raises(ConfigError, match=f"^{wrong}: got "):
            explain_cut(global_batch, workers, samples)
        return
    parts, text = explain_cut(global_batch, workers, samples)
    rows = samples if samples is not None else 10 * global_batch
    sizes = [batch_size(step, rows, global_batch) for step in range(steps_per_epoch(rows, global_batch))]
    taken = int(re.search(r"(?:the next|all|trains on) (\d+) ", text).group(1))
    assert (sum(parts), len(parts)) == (taken, workers)
    assert max(parts) - min(parts) <= 1
    assert taken == sizes[0]
    assert ("all " in text.split(" sample")[0]) == (taken < global_batch)
    left = re.search(r"last step of an epoch (?:takes|on) the (\d+)", text)
    assert (int(left.group(1)) if left else taken) == sizes[-1]
    if workers > 1:
        shares = re.search(r"into ([\d +]+)", text).group(1)
        assert tuple(map(int, re.findall(r"\d+", shares))) == parts[:8]


@pytest.mark.parametrize(
    ("panel", "name", "value", "said"),
    [
        (ShardingPanel, "workers", 10_000, "Workers: got 10000.*a whole number from 1 to"),
        (ShardingPanel, "workers", 1.5, "Workers: got 1.5"),
        (ShardingPanel, "global_batch", 0, "Global batch: got 0.*from 1 to 10,000,000"),
        (TrainingPanel, "learning_rate", -1, "Learning rate: got -1.*1e-07 to 10"),
        (TrainingPanel, "learning_rate", float("nan"), "Learning rate: got nan"),
        (TrainingPanel, "epochs", 10**9, "Epochs: got 1000000000.*from 1 to 10,000,000"),
        (TrainingPanel, "seed", -1, "Seed: got -1"),
        (CompressionPanel, "frequency", 0, "Every … steps: got 0"),
        (CompressionPanel, "sparsity", 1.0, "Share of zeros: got 1; expected 0 to 99 %"),
    ],
)
def test_absurd_numbers_are_refused_by_the_name_of_their_field(panel, name, value, said):
    made = panel()
    field = getattr(made, name)
    before = field.value
    with pytest.raises(ConfigError, match=said):
        field.value = value
    assert field.value == before
    made.close()


def test_what_a_field_says_is_wrong_goes_when_it_is_mended():
    panel = TrainingPanel()
    panel.epochs.wrong = "Epochs: got 0; expected a whole number from 1 to 10,000,000"
    assert panel.epochs.refusal.startswith("Epochs: got 0")
    panel.epochs.value = 7
    assert panel.epochs.refusal == ""
    panel.name.value = "a/b"
    assert "name: got &#x27;a/b&#x27;" in panel.name_problem.value
    assert panel.waits_for == "see Name"
    panel.name.value = "fine"
    assert (panel.name_problem.value, panel.waits_for) == ("", None)
    panel.close()


def test_explain_cut_refuses_an_empty_batch():
    with pytest.raises(ConfigError, match="global_batch: got 0"):
        explain_cut(0, 1)
    assert explain_cut(1, 1)[0] == (1,)


def test_training_panel_alone():
    panel = TrainingPanel(epochs=3)
    assert repr(panel) == "<TrainingPanel: 3 epochs, learning rate 0.001>"
    assert panel.settings() == {"epochs": 3, "learning_rate": 0.001, "seed": 0, "name": "run"}
    panel.close()


def test_training_panel_shows_a_schedule_in_place_of_the_slider():
    panel = TrainingPanel()
    panel.show_schedule("CosineDecay(<0.1>)", 0.0312)
    assert panel.schedule.value == "Learning rate: CosineDecay(&lt;0.1&gt;), now 0.0312"
    assert (panel.learning_rate.layout.display, panel.schedule.layout.display) == ("none", "")
    assert repr(panel) == "<TrainingPanel: 5 epochs, learning rate by schedule>"
    assert "learning_rate" not in panel.settings()
    panel.show_schedule("Constant()")
    assert panel.schedule.value == "Learning rate: Constant()"
    panel.show_schedule(None)
    assert (panel.learning_rate.layout.display, panel.schedule.layout.display) == ("", "none")
    assert panel.settings()["learning_rate"] == 0.001
    panel.close()


def test_compression_panel_explains_and_greys_out():
    panel = CompressionPanel()
    assert panel.settings() == {}
    assert panel.sparsity.disabled
    panel.pattern.value = "2:4"
    assert panel.sparsity.disabled
    assert "2:4 fixes the share of zeros at 50 %" in panel.reason.value
    assert panel.settings()["pruning"]["sparsity"] == 0.5
    panel.pattern.value = "block"
    assert not panel.sparsity.disabled
    panel.lock(True)
    assert panel.pattern.disabled
    assert repr(panel) == "<CompressionPanel: block pruning, float>"
    assert impossible("block") == {}
    panel.close()


@pytest.mark.parametrize("pattern", ["none", "unstructured", "2:4", "block"])
@pytest.mark.parametrize("bits", ["off", "8", "4", "3", "2"])
def test_every_choice_of_compression_is_a_valid_configuration(pattern, bits):
    from lepton_kit.client.launch import plan

    panel = CompressionPanel()
    panel.pattern.value, panel.bits.value = pattern, bits
    config = plan(lk.LeptonModel((8, 8, 1), 10), lk.data.sample("digits"), **panel.settings()).settings
    assert (config.pruning is None) == (pattern == "none")
    assert (config.quantization_aware is None) == (bits == "off")
    panel.close()


@pytest.mark.parametrize("name", ["digits", "credit", "intents", "tennessee", "lidar_collision"])
def test_a_model_for_every_kind_of_sample(name):
    prepared = lk.data.sample(name).prepare()
    model = model_for(prepared, 16, 1)
    assert model.fitted_to(prepared).num_classes == prepared.num_classes


def test_no_lepton_model_for_label_maps():
    prepared = lk.data.arrays(np.zeros((10, 4)), np.arange(10) % 2).prepare()
    with pytest.raises(ModelError, match="give a Keras model"):
        model_for(dataclasses.replace(prepared, task="other"), 8, 1)


def test_class_bar_names_few_classes_and_only_counts_many():
    assert class_bar({}) == ""
    assert ">cat</div>" in class_bar({"cat": 3, "dog": 1})
    many = class_bar({f"class {k}": k + 1 for k in range(13)})
    assert many.count("<div style") == 13
    assert ">class 1<" not in many


def test_device_panel_names_this_machine():
    panel = DevicePanel()
    assert panel.complaint == ""
    assert "cores usable" in panel.line.value
    assert "train and infer" in panel.listing.value
    assert "cpu" in repr(panel)
    panel.close()


def test_complaints_come_and_go():
    panel = Panel()
    with panel.reporting():
        raise KeyError("x")
    assert panel.complaint == "KeyError: 'x'"
    with panel.reporting():
        pass
    assert panel.complaint == ""
    panel.close()


def test_tables_escape_their_cells():
    assert "&lt;b&gt;" in table(["name"], [["<b>"]])


def test_a_number_that_the_page_sends_is_what_python_would_have_set():
    """JSON knows no difference between 3 and 3.0, and observers hear the value before a cross-validator could mend it."""
    panel, heard = ShardingPanel(workers=2, max_workers=8), []
    panel.workers.observe(lambda change: heard.append(change["new"]), names="value")
    panel.workers.wrong = "Workers: got 99; expected a whole number from 1 to 8"
    panel.workers.set_state({"value": 3.0, "wrong": ""})
    assert heard == [3]
    assert isinstance(heard[0], int)
    assert panel.workers.refusal == ""
    assert "43 + 43 + 42" in panel.explanation.value
    assert isinstance(panel.workers.max, int)
    panel.close()
