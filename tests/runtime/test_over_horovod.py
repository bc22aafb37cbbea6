"""Sums by Horovod instead of shared memory: scaled, killed and certified like the other path."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest

import lepton_kit as lk
from lepton_kit.client.certify import compare
from lepton_kit.training import job, reference, state
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.processes


def smooth() -> keras.Model:
    """Smooth everywhere: at the kink of a ReLU rounding can move the gradient of a whole sample."""
    dense = keras.layers.Dense
    return keras.Sequential(
        [
            *(keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 128, offset=-1), keras.layers.Flatten()),
            *(dense(32, activation="tanh"), dense(10)),
        ]
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lk.Run]:
    """Scaled from 2 to 3 workers of unequal places, one of them killed, then scaled to 1."""
    made = lk.launch(
        smooth(), lk.data.sample("digits"), workers=2, weights=(1.0, 3.0), max_workers=3, standby=1,
        allreduce="horovod", global_batch=600, epochs=1_000_000, max_steps=1_000_000, optimizer="sgd",
        learning_rate=0.05, hang_seconds=200, checkpoint_seconds=0.5, log_seconds=0.05, runs_dir=tmp_path_factory.mktemp("horovod"),
    )  # fmt: skip

    def hold() -> None:
        made.pause()
        eventually(lambda: made.status == "paused", "paused")

    def trains_by(workers: int) -> bool:
        return made.view().counts()["training"] == workers == made.view().generations[-1]["world_size"]

    try:
        eventually(lambda: made.view().step > 3, "training")
        for workers in (3, 1):
            hold()
            made.scale(workers)
            eventually(lambda n=workers: trains_by(n), f"{workers} workers")
            if workers == 3:
                (pid,) = [worker["pid"] for worker in made.view().workers if worker["rank"] == 1]
                os.kill(pid, signal.SIGKILL)
                eventually(lambda: made.view().incidents and trains_by(3), "replaced")
            eventually(lambda: made.status == "paused", "paused as before")
            step = made.view().step
            made.resume()
            eventually(lambda s=step: made.view().step > s, "going on")
        eventually(lambda: made.view().step >= 50, "training on")
        made.stop().wait(240)
        yield made
    finally:
        for process in processes_of(made.view().driver_pid or -1):
            process.kill()


def test_each_sample_counts_once(run: lk.Run):
    found = lk.audit(run)
    assert found.problems == ()
    assert found.steps == run.view().step


def test_a_batch_is_cut_by_the_speeds_of_places_whatever_their_number(run: lk.Run):
    cuts = [sorted(generation["cut"]) for generation in run.view().generations]
    assert cuts[0] == [150, 450]
    assert [100, 200, 300] in cuts, "the third place is as fast as the two are on average"


def test_the_weights_are_those_of_one_process(run: lk.Run):
    data = run.data().prepare()
    model = job.build_model(run.config, run.directory, data)
    about = [(variable.path, True) for variable in model.trainable_variables]
    expected = reference.plain_fit(model, run.config.replace(**{"training.max_steps": run.view().step}), data)
    _, arrays, _ = state.load_checkpoint(state.checkpoint_folders(run.paths.checkpoints)[-1])
    assert compare(run, arrays, about, expected).max_difference < 1e-5


def test_the_killed_rank_is_the_one_incident(run: lk.Run):
    assert [one["what"] for one in run.view().incidents] == ["killed by signal 9 (SIGKILL)"]


def test_who_was_alone_sums_with_others_again(tmp_path: Path):
    """With 2.7 MB of gradients: of less the processes did not end."""
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((784,)), *(dense(512, "relu") for _ in range(2)), dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    random = np.random.default_rng(0)
    data = (random.normal(size=(2048, 784)).astype(np.float32), random.integers(0, 10, 2048))
    run = lk.launch(
        model, data, workers=2, allreduce="horovod", global_batch=128, epochs=1_000_000, threads=1,
        max_workers=2, standby=0, hang_seconds=200, log_seconds=0.2, validation_split=0, runs_dir=tmp_path,
    )  # fmt: skip
    try:
        for workers in (2, 1, 2):
            if workers != run.view().world_size:
                run.scale(workers)

            def goes_on(count: int = workers) -> bool:
                view = run.view()
                last = view.generations[-1:]
                return bool(last) and last[0]["world_size"] == count and view.step > last[0]["step"] + 5

            eventually(goes_on, f"training on with {workers}")
        assert run.view().incidents == []
        assert run.stop().wait(240).status == "stopped"
        assert lk.audit(run).problems == ()
    finally:
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()


def test_it_certifies(tmp_path: Path):
    model = smooth()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = lk.data.sample("digits")
    found = lk.certify(model, data, workers=2, allreduce="horovod", global_batch=120, steps=8)
    assert found.workers == 2
    assert found.max_difference < 1e-5


@pytest.mark.long
def test_a_run_that_is_held_takes_no_core(tmp_path: Path):
    """Horovod's threads ask each other what to sum 2,000 times a second; this process is the clock beside them."""
    run = lk.launch(
        smooth(), lk.data.sample("digits"), workers=2, allreduce="horovod", global_batch=600, epochs=1_000_000,
        hang_seconds=200, log_seconds=0.05, runs_dir=tmp_path,
    )  # fmt: skip
    try:
        eventually(lambda: run.view().step > 3, "training")
        run.pause()
        eventually(lambda: run.status == "paused", "paused")
        workers = [psutil.Process(worker["pid"]) for worker in run.view().workers]
        began, before = time.process_time(), [sum(one.cpu_times()[:2]) for one in workers]
        while time.process_time() - began < 3:
            pass
        used = sum(sum(one.cpu_times()[:2]) for one in workers) - sum(before)
        assert used < 0.3, "of the 3 s that this process has taken meanwhile"
        step = run.view().step
        run.resume()
        eventually(lambda: run.view().step > step + 3, "going on")
        assert run.status == "running"
        assert run.view().generations[-1]["cause"] == "resumed"
        run.pause()
        eventually(lambda: run.status == "paused", "paused again")
        assert run.stop().wait(240).status == "stopped"
        assert lk.audit(run).problems == ()
    finally:
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()
