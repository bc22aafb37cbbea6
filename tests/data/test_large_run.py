"""Real workers on a folder that is read by index: exact, elastic and audited, as with arrays in memory."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lepton_kit as lk
from lepton_kit.training import job, reference, state

pytestmark = pytest.mark.processes
PATIENCE = 240.0


def until(run, condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline or run.status == "failed":
            raise AssertionError(
                f"not {what}: {run.status}, {run.cause}, {run.view().counts()}\n{run.logs()}"
            )
        time.sleep(0.02)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """One cache for all tests of this file, since they look at one run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("rows")
    g = np.random.default_rng(0)
    for number in range(3):
        x = g.normal(size=(2000 + 100 * number, 6))
        columns = {f"x{k}": x[:, k] for k in range(6)} | {"y": x[:, 0] + 0.3 * x[:, 1] ** 2 > 0}
        pq.write_table(pa.table(columns), root / f"{number}.parquet", row_group_size=250)
    return root


def model():
    import keras

    layers = [keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((6,)), *layers])


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    data = lk.data.parquet(folder, target="y")
    run = lk.launch(
        model(),
        data,
        workers=1,
        max_workers=3,
        standby=1,
        batch_size=96,
        epochs=1_000_000,
        optimizer="sgd",
        learning_rate=0.05,
        seed=5,
        log_seconds=0.1,
        runs_dir=tmp_path_factory.mktemp("runs"),
    )
    for workers in (3, 2):
        before = run.view().step
        until(run, lambda: run.view().step > before + 5, "training")  # noqa: B023  called at once
        run.pause()
        until(run, lambda: run.status == "paused", "paused")
        run.scale(workers)
        until(run, lambda: run.view().world_size == workers, f"scaled to {workers}")  # noqa: B023  # called within its turn of the loop
        until(run, lambda: run.status == "paused", "paused as before")
        run.resume()
    before = run.view().step
    until(run, lambda: run.view().step > before + 5, "training with two")
    (victim,) = [worker["pid"] for worker in run.view().workers if worker["rank"] == 1]
    formed = len(run.view().generations)
    os.kill(victim, signal.SIGKILL)
    until(run, lambda: run.view().incidents and len(run.view().generations) > formed, "noticed")
    struck = run.view().step
    until(run, lambda: run.view().step > struck + 5, "going on")
    return run.stop().wait(PATIENCE)


def test_a_file_that_is_gone_ends_the_run_in_words(tmp_path):
    g = np.random.default_rng(0)
    columns = {f"x{k}": g.normal(size=400) for k in range(6)} | {"y": np.arange(400) % 2}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    options = {"workers": 1, "max_workers": 1, "batch_size": 64, "epochs": 2, "runs_dir": tmp_path / "runs"}
    gone = lk.launch(model(), lk.data.parquet(tmp_path / "rows.parquet", target="y"), **options)
    (tmp_path / "rows.parquet").unlink()
    with pytest.raises(
        lk.errors.RunError, match=r"rows.parquet: cannot be read \(No such file or directory\)"
    ):
        gone.wait(PATIENCE)
    assert gone.status == "failed"


def test_it_was_scaled_and_hit_and_went_on(run):
    assert (run.status, run.cause) == ("stopped", None)
    sizes = [generation["world_size"] for generation in run.view().generations]
    assert {1, 2, 3} <= set(sizes)
    assert run.view().incidents


def test_the_order_stands_in_the_configuration(run):
    assert run.config.training.order == lk.data.Dataset.from_spec(run.config.data).prepare().train.order
    assert sum(rows * count for rows, count in run.config.training.order.blocks) == 5040


def test_each_sample_came_exactly_once_an_epoch(run):
    audit = lk.audit(run)
    assert audit.exactly_once, str(audit)
    assert audit.steps == run.view().step


def test_an_audit_by_another_order_finds_other_samples(run, monkeypatch):
    from lepton_kit.client import audit
    from lepton_kit.data import sharding

    plain = sharding.batch_of
    monkeypatch.setattr(
        audit.sharding, "batch_of", lambda step, **rest: plain(step, **{**rest, "order": None})
    )
    assert not lk.audit(run).exactly_once


def test_its_weights_are_those_of_plain_keras_on_arrays_in_memory(run, folder):
    copied = lk.data.parquet(folder, target="y", cache=True).prepare()
    assert isinstance(copied.train.x, np.ndarray)
    _, arrays, _ = state.load_checkpoint(state.checkpoint_folders(run.paths.checkpoints)[-1])
    plain = job.build_model(run.config, run.directory, copied)
    weights = reference.plain_fit(
        plain, run.config.replace(**{"training.max_steps": run.view().step}), copied
    )
    for mine, other in zip(arrays[: len(weights)], weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-5)
