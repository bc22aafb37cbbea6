"""Panel, Python, the code that a run shows, and the shell: one configuration, identical weights."""

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.cli import main
from lepton_kit.training import state

pytestmark = pytest.mark.processes
LIMIT_SECONDS = 240


def weights(run):
    _, arrays, _ = state.load_checkpoint(state.checkpoint_folders(run.paths.checkpoints)[-1])
    return arrays


def by_python(folder):
    model = lk.LeptonModel((8, 8, 1), 10, hidden_size=32, num_layers=2)
    return lk.launch(
        model, lk.data.sample("digits"), workers=2, epochs=1, seed=3, learning_rate=0.001, runs_dir=folder
    ).wait(LIMIT_SECONDS)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return by_python(tmp_path_factory.mktemp("python"))


def assert_identical(run, first):
    assert run.view().step == first.view().step == 12
    for mine, other in zip(weights(run), weights(first), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_the_shell_repeats_a_run_from_its_configuration(first, tmp_path):
    first.to_config(tmp_path / "config.yaml")
    assert main(["--runs-dir", str(tmp_path / "runs"), "run", str(tmp_path / "config.yaml")]) == 0
    (run,) = lk.runs(tmp_path / "runs")
    assert_identical(run, first)


def test_the_code_that_a_run_shows_repeats_it(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(first.code(), names)
    assert_identical(names["run"], first)


def test_the_panel_repeats_it(first, tmp_path):
    panel = lk.Workbench(runs_dir=tmp_path)
    try:
        panel.data_model.hidden_size.value = 32
        panel.data_model.num_layers.value = 2
        panel.workers.value, panel.epochs.value, panel.seed.value = 2, 1, 3
        panel.start.click()
        assert panel.run is not None, panel.training.complaint
        assert_identical(panel.run.wait(LIMIT_SECONDS), first)
    finally:
        panel.close()
