"""One run, scaled and hit in every way, ends like one that nobody disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import lepton_kit as lk
from lepton_kit.client.certify import compare
from lepton_kit.rundir import EventReader
from lepton_kit.training import job, reference, state
from tests.processes import processes_of

pytestmark = pytest.mark.processes
PATIENCE = 240.0
KERNEL = """
import sys, time
import keras
import lepton_kit as lk

# Smooth everywhere: at the kink of a ReLU or a maximum rounding can move the gradient of a whole sample.
dense = keras.layers.Dense
smooth = keras.Sequential([
    keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 128, offset=-1), keras.layers.Flatten(),
    dense(64, activation="tanh"), dense(32, activation="tanh"), dense(10),
])
run = lk.launch(
    smooth, lk.data.sample("digits"), workers=1, max_workers=4, standby=1,
    global_batch=600, epochs=1_000_000, max_steps=1_000_000, optimizer="sgd", learning_rate=0.05, hang_seconds=4,
    checkpoint_seconds=0.5, log_seconds=0.1, runs_dir=sys.argv[1],
)
print(run.directory, flush=True)
time.sleep(1000)
"""


def until(run: lk.Run, condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline or run.status == "failed":
            raise AssertionError(
                f"not {what}: {run.status}, {run.cause}, {run.view().counts()}\n{run.logs()}"
            )
        time.sleep(0.02)


class Story:
    """The run with what was seen of it on the way."""

    def __init__(self, folder: Path):
        kernel = subprocess.Popen(
            [sys.executable, "-c", KERNEL, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert kernel.stdout is not None
        self.run = lk.open_run(kernel.stdout.readline().strip())
        kernel.kill()
        kernel.wait()
        kernel.stdout.close()
        self.refused = ""
        self.sessions: list[int] = []
        self.listening: set[str] = set()
        self.seen_scaled: list[int] = []

    def hold(self) -> None:
        self.run.pause()
        until(self.run, lambda: self.run.status == "paused", "paused")

    def go(self, steps: int = 1) -> None:
        start = self.run.view().step
        self.run.resume()
        until(self.run, lambda: self.run.view().step >= start + steps, "going on")

    def scale(self, workers: int) -> None:
        """Scale a run that holds, and have it train a little."""
        self.hold()
        step = self.run.view().step
        self.run.scale(workers)
        until(self.run, lambda: self.run.view().world_size == workers, f"scaled to {workers}")
        until(self.run, lambda: self.run.view().counts()["training"] == workers, f"told of {workers}")
        until(self.run, lambda: self.run.status == "paused", "paused as before")
        assert self.run.view().step == step, "a paused run is re-formed without training"
        self.seen_scaled.append(self.run.view().world_size)
        self.go(5)

    def strike(self, rank: int, blow: int) -> None:
        view = self.run.view()
        (pid,) = [worker["pid"] for worker in view.workers if worker["rank"] == rank]
        incidents, generations = len(view.incidents), len(view.generations)
        os.kill(pid, blow)
        until(self.run, lambda: len(self.run.view().incidents) > incidents, "noticed")
        until(self.run, lambda: len(self.run.view().generations) > generations, "re-formed")
        self.hold()
        wanted = self.run.view().wanted
        until(self.run, lambda: self.run.view().counts()["training"] == wanted, "replaced")
        until(self.run, lambda: self.run.status == "paused", "paused again")
        self.go(5)

    def note(self) -> None:
        driver = self.run.view().driver_pid
        assert driver is not None
        self.sessions.append(driver)
        for process in processes_of(driver):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    self.listening.add(connection.laddr.ip)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    made = Story(tmp_path_factory.mktemp("survival"))
    run = made.run
    try:
        until(run, lambda: run.view().step > 3, "training")
        made.scale(3)
        made.strike(1, signal.SIGKILL)
        made.scale(2)
        made.note()
        made.strike(0, signal.SIGKILL)
        made.scale(4)
        with pytest.raises(lk.errors.RunError) as refused:
            run.scale(5)
        made.refused = str(refused.value).partition(": scale: ")[2]
        made.strike(2, signal.SIGSTOP)
        driver = run.view().driver_pid
        assert driver is not None
        os.kill(driver, signal.SIGKILL)
        until(run, lambda: run.status == "interrupted", "seen as interrupted")
        until(run, lambda: not processes_of(driver), "gone with its driver")
        with open(run.paths.events, "ab") as file:
            file.write(b'{"time":1.0,"kind":"ste')
        run.resume()
        run.pause()
        until(run, lambda: run.status == "paused", "resumed")
        made.note()
        made.scale(1)
        run.stop().wait(PATIENCE)
        yield made
    finally:
        for process in processes_of(run.view().driver_pid or -1):
            process.kill()


def test_the_run_went_through_all_of_it_without_its_kernel(story: Story):
    assert (story.run.status, story.run.cause) == ("stopped", None)
    assert story.seen_scaled == [3, 2, 4, 1]


def test_the_log_proves_each_sample_once(story: Story):
    found = lk.audit(story.run)
    assert found.problems == ()
    assert found.steps == story.run.view().step


def test_the_weights_equal_those_of_one_undisturbed_process(story: Story, tmp_path: Path):
    run, data = story.run, story.run.data().prepare()
    model = job.build_model(run.config, run.directory, data)
    about = [(variable.path, True) for variable in model.trainable_variables]
    expected = reference.plain_fit(model, run.config.replace(**{"training.max_steps": run.view().step}), data)
    _, arrays, _ = state.load_checkpoint(state.checkpoint_folders(run.paths.checkpoints)[-1])
    assert compare(run, arrays, about, expected).max_difference < 1e-5


def test_one_line_says_what_happened_to_which_rank(story: Story):
    incidents = story.run.view().incidents
    assert [incident["rank"] for incident in incidents] == [1, 0, 2]
    killed, root, hung = (incident["what"] for incident in incidents)
    assert killed == root == "killed by signal 9 (SIGKILL)"
    assert hung.startswith("hung: nothing heard for")


def test_a_request_above_the_limit_is_refused_with_the_cause(story: Story):
    assert story.refused == "workers: got 5; expected at most 4 (workers.max_workers)"


def test_the_resumed_run_went_on_with_the_number_of_workers_it_had(story: Story):
    causes = [generation["cause"] for generation in story.run.view().generations]
    (resumed,) = [k for k, cause in enumerate(causes) if cause.startswith("resumed from the checkpoint")]
    assert story.run.view().generations[resumed]["world_size"] == 4


def test_no_process_is_left(story: Story):
    assert len(set(story.sessions)) == 2
    for session in story.sessions:
        assert processes_of(session) == []


def test_every_socket_listened_on_loopback(story: Story):
    assert story.listening
    assert all(address.startswith("127.") or address == "::1" for address in story.listening)


def test_two_viewers_see_the_same(story: Story):
    one, other = lk.open_run(story.run.directory).view(), lk.open_run(story.run.directory).view()
    assert one.loss.tolist() == other.loss.tolist()
    assert len(one.loss) == one.step > 0


def test_nobody_else_can_read_the_run(story: Story):
    assert story.run.directory.stat().st_mode & 0o077 == 0
    reader = EventReader(story.run.paths.events)
    assert reader.poll()
    assert reader.skipped_lines == 1
