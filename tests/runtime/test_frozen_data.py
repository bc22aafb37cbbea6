"""A run trains on the data that it began with, whatever becomes of their source, and its log proves it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit import cli
from lepton_kit.data import cache
from lepton_kit.data.prepared import open_folder
from lepton_kit.deploy.subject import find_subject
from lepton_kit.errors import RunError
from tests.processes import processes_of

pytestmark = pytest.mark.processes
PATIENCE = 240.0
ROWS = 6000


def write(path: Path, *, inverted: bool = False, rows: int = ROWS) -> None:
    values = np.random.default_rng(0).normal(size=(rows, 2))
    lines = [f"{a:.4f},{b:.4f},{int((a > 0) ^ inverted)}\n" for a, b in values]
    path.write_text("a,b,y\n" + "".join(lines))


def until(run: lk.Run, condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline or run.status == "failed":
            raise AssertionError(f"not {what}: {run.status}, {run.cause}\n{run.logs()}")
        time.sleep(0.02)


def end(run: lk.Run) -> None:
    for process in processes_of(run.view().driver_pid or -1):
        process.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a cache of its own: here the source and what was decoded from it are deleted."""
    folder = tmp_path_factory.mktemp("frozen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def run(home: Path) -> Iterator[lk.Run]:
    """A stopped run whose file was rewritten and then deleted while a worker was killed and others joined."""
    source = home / "rows.csv"
    write(source)
    run = lk.launch(
        lk.LeptonModel((2,), 2, 16, 1), lk.data.table(source, target="y"), workers=2, max_workers=3,
        global_batch=50, epochs=100_000, checkpoint_seconds=0.2, log_seconds=0.05, runs_dir=home / "runs",
    )  # fmt: skip
    try:
        until(run, lambda: run.view().step > 100, "training")
        write(source, inverted=True, rows=ROWS + 600)
        run.scale(3)
        until(run, lambda: run.view().counts()["training"] == 3, "joined by a worker after the change")
        source.unlink()
        shutil.rmtree(cache.cache_root())
        known = {row["pid"] for row in run.view().workers}
        os.kill(min(known), signal.SIGKILL)
        until(
            run,
            lambda: {row["pid"] for row in run.view().workers if row["state"] == "training"} - known,
            "given a new worker after the deletion",
        )
        step = run.view().step
        until(run, lambda: run.view().step > step + 200, "going on")
        run.stop().wait(PATIENCE)
        yield run
    finally:
        end(run)


@pytest.mark.long
def test_workers_that_came_after_a_change_have_trained_on_the_same(run: lk.Run):
    assert lk.audit(run).problems == ()
    assert lk.audit(run, contents=True).problems == ()
    assert run.view().plan["data"] == run.config.frozen.model_dump()
    loss = run.history.loss
    assert loss.iloc[-20:].mean() < 0.7 * loss.iloc[80:100].mean(), (
        "inverted labels would have undone what was learned before the change"
    )


@pytest.mark.long
def test_a_resume_after_the_deletion_goes_on_with_the_same(run: lk.Run):
    step = run.view().step
    run.resume()
    until(run, lambda: run.view().step > step + 200, "going on")
    run.stop().wait(PATIENCE)
    assert lk.audit(run).problems == ()


def test_what_is_made_of_the_run_opens_the_same(run: lk.Run, tmp_path: Path):
    assert run.data().prepare().content == run.config.frozen.content
    _, folder = find_subject(run, None, tmp_path)
    assert open_folder(folder).content == run.config.frozen.content
    certificate = lk.certify(lk.LeptonModel((2,), 2, 16, 1), run.data(), workers=2, steps=3, global_batch=50)
    assert certificate.max_difference < 1e-6


def test_the_configuration_repeats_the_source_and_not_its_copy(run: lk.Run, home: Path):
    assert f"path: {home / 'rows.csv'}" in run.to_config()
    assert "content" not in run.to_config()


def test_a_copy_that_was_tampered_with_is_named_and_refused_until_the_source_is_back(
    run: lk.Run, home: Path, capsys: pytest.CaptureFixture[str]
):
    file = run.paths.data / "train.y.0.npy"
    os.chmod(file, 0o600)
    labels = np.load(file, mmap_mode="r+")
    labels[[3, 7]] ^= 1
    labels.flush()
    os.utime(file)
    (problem,) = lk.audit(run).problems
    assert problem.startswith("rows.csv can't be read any more")
    assert "2 of 4800 training samples are not as they were decoded (rows 3, 7)" in problem
    assert cli.main(["--runs-dir", str(home / "runs"), "audit", run.id, "--contents"]) == 1
    assert "rows 3, 7" in capsys.readouterr().out
    run.resume()
    with pytest.raises(RunError, match="rows 3, 7"):
        run.wait(PATIENCE)
    write(home / "rows.csv")
    assert lk.audit(run, contents=True).problems == ()
    step = run.view().step
    run.resume()
    until(run, lambda: run.view().step > step + 50, "going on")
    run.stop().wait(PATIENCE)
    assert lk.audit(run).problems == ()


class OtherData(keras.callbacks.Callback):
    """Has rank 1 of a run train on other contents, as a process that opened a changed file would."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        from lepton_kit.data.prepared import open_folder
        from lepton_kit.training.job import Job

        self.__dict__.update(state)
        original, folder = Job.block, state["folder"]

        def block(job: Any, first: int, steps: int, weights: Any, rank: int) -> Any:
            if rank == 1:
                job.data = open_folder(folder)
            return original(job, first, steps, weights, rank)

        Job.block = block  # type: ignore[method-assign]  # a rank that feeds other data


@pytest.mark.parametrize("changed", [True, False])
def test_a_rank_that_is_fed_other_contents_at_the_same_places_is_found(tmp_path: Path, changed: bool):
    x, y = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32), np.arange(200) % 2
    data = lk.data.arrays(x, y, validation_split=0)
    other = lk.data.arrays(x, 1 - y if changed else y, validation_split=0)
    other.store(tmp_path / "other")
    callback = OtherData()
    callback.folder = tmp_path / "other"
    run = lk.launch(
        lk.LeptonModel((2,), 2, 8, 1), data, workers=2, global_batch=20, epochs=2, callbacks=[callback],
        runs_dir=tmp_path / "runs",
    )  # fmt: skip
    try:
        run.wait(PATIENCE)
    finally:
        end(run)
    problems = lk.audit(run).problems
    wrong = [f"step {step}: other samples were fed than those of this step" for step in range(20)]
    assert list(problems) == (wrong if changed else [])
