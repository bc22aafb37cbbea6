"""Runs that earlier versions have trained still open: they are read, audited, asked, and trained on.

`earlier/` holds three, each a few kB, as the versions of 2026-11-25 wrote them (without logs): before models knew how
their outputs read, and with that, but before data were frozen and checkpoints had check sums.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import lepton_kit as lk
from tests.processes import eventually, processes_of

EARLIER = Path(__file__).with_name("earlier")
FINISHED = ["plain-20261125-085110-c4e9", "answers-20261125-230000-9a88"]
STOPPED = "stopped-20261125-230000-9a88"
ROWS = np.random.default_rng(1).random((3, 4)).astype(np.float32)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Copies, so that nothing is left in the kept ones."""
    return Path(shutil.copytree(EARLIER, tmp_path / "runs"))


@pytest.mark.parametrize("name", [*FINISHED, STOPPED])
def test_an_earlier_run_is_read_and_audited(runs: Path, name: str):
    run = lk.open_run(name, runs_dir=runs)
    assert run.status == ("stopped" if name == STOPPED else "finished")
    assert run.view().step == 8
    assert lk.audit(run).problems == ()
    assert not run.view().misfits
    assert run.config.training.global_batch == 8


def test_earlier_runs_are_listed_as_what_they_are(runs: Path):
    table = lk.runs(runs).table()
    assert sorted(table["status"]) == ["finished", "finished", "stopped"]


@pytest.mark.parametrize("name", FINISHED)
def test_the_model_of_an_earlier_run_answers(runs: Path, name: str):
    run = lk.open_run(name, runs_dir=runs)
    assert run.model()(ROWS).shape == (3, 2)
    assert len(run.predict(ROWS)) == 3  # what was not written beside the model is found in the data


@pytest.mark.processes
def test_an_earlier_run_is_trained_on(runs: Path):
    run = lk.open_run(STOPPED, runs_dir=runs)
    try:
        run.resume()
        eventually(lambda: run.view().counts()["training"] or not run.alive, "training")
        eventually(lambda: run.view().step > 20 or not run.alive, "trained on")
        assert run.view().generations[-1]["step"] == 8
        run.stop().wait(120)
        assert (run.status, run.cause) == ("stopped", None)
        assert lk.audit(run).problems == ()
    finally:
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()
