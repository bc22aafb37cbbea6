"""One import of TensorFlow serves all launches of a client; whatever is killed, the next launch trains and nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import lepton_kit as lk
from lepton_kit.rundir import RunPaths
from lepton_kit.runtime import start
from lepton_kit.runtime.nursery import fixed
from tests.conftest import left_behind
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.processes
PATIENCE = 120.0
ENDLESS = 100_000
"""Epochs of a run that is to be stopped."""


def launch(runs_dir: Path, width: int = 4, **options: Any) -> lk.Run:
    options = {"workers": 1, "global_batch": 500, "epochs": 1, **options}
    return lk.launch(
        lk.LeptonModel((8, 8, 1), 10, width), lk.data.sample("digits"), runs_dir=runs_dir, **options
    )


def training(run: lk.Run) -> lk.Run:
    eventually(lambda: run.view().step > 1, "training")
    return run


def end(run: lk.Run) -> None:
    run.stop().wait(PATIENCE)


def nursery() -> int:
    """The pid of this process' nursery, once it is ready."""
    return eventually(start._kept.ready_nursery, "a nursery").pid


def driver_of(run: lk.Run) -> psutil.Process:
    return psutil.Process(eventually(lambda: run.view().driver_pid, "a driver"))


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def warm(tmp_path_factory: pytest.TempPathFactory) -> int:
    """This process has a nursery that is ready; its pid."""
    if start._kept.ready_nursery() is None:
        launch(tmp_path_factory.mktemp("first")).wait(PATIENCE)
    return nursery()


def test_launches_in_a_row_are_forks_of_one_process(warm: int, runs_dir: Path):
    for width in (4, 5, 6):
        run = launch(runs_dir, width, epochs=ENDLESS)
        assert driver_of(run).ppid() == warm
        end(training(run))
    assert nursery() == warm


def test_launches_from_several_threads_each_train(warm: int, runs_dir: Path):
    runs: list[lk.Run] = []
    threads = [threading.Thread(target=lambda: runs.append(launch(runs_dir))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.wait(PATIENCE).id for run in runs}) == 3


def test_warm_workers_come_from_the_nursery_unless_the_environment_has_changed(
    warm: int, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    def prepare() -> Path:
        lk.warm(lk.LeptonModel((8, 8, 1), 10, 4), lk.data.sample("digits"), workers=1, global_batch=500)
        assert start._kept.standby is not None
        return start._kept.standby.folder

    folder = prepare()
    assert prepare() == folder, "the same workers serve another choice"
    run = launch(runs_dir, epochs=ENDLESS)
    assert start._kept.standby is None
    assert driver_of(run).ppid() == warm
    end(run)
    folder = prepare()
    monkeypatch.setenv("LEPTON_TEST_TURN", "later")
    assert prepare() != folder


def test_a_forked_run_is_one_session_that_ends_with_its_driver(warm: int, runs_dir: Path):
    run = training(launch(runs_dir, workers=2, epochs=ENDLESS))
    driver = driver_of(run)
    assert os.getsid(driver.pid) == driver.pid
    assert len(processes_of(driver.pid)) == 4, "driver, zygote and two workers"
    (zygote,) = driver.children()
    zygote.suspend()  # not even a stopped one outlives its driver
    driver.kill()
    eventually(lambda: processes_of(driver.pid) == [], "gone with their driver")
    assert run.status == "interrupted"
    end(run.resume())
    assert run.status == "stopped"


def test_a_driver_that_cannot_take_its_run_leaves_the_nursery_alone(warm: int, runs_dir: Path):
    run = launch(runs_dir)
    run.wait(PATIENCE)
    broken = RunPaths(runs_dir / "broken")
    broken.create()
    broken.config.write_text("model: 7\n")
    start.start_driver(broken)
    eventually(lambda: broken.read_status()["status"] == "failed", "failed")
    assert "model" in broken.read_status()["cause"]
    assert nursery() == warm


def test_a_changed_variable_that_libraries_read_once_ends_it(monkeypatch: pytest.MonkeyPatch):
    kept = start._Nursery()
    try:
        assert kept.serves()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
        assert kept.serves(), "workers read that one late"
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        assert not kept.serves()
    finally:
        kept.close()
    assert not kept.serves()
    assert fixed({"HOME": "/", "OMP_NUM_THREADS": "1"}) == {"OMP_NUM_THREADS": "1"}


PROBE = """
import json, os
import keras

CLIENT = os.getpid()


class Probe(keras.layers.Layer):
    def call(self, x):
        if os.getpid() != CLIENT:  # so in a worker
            import lepton_test_helper

            seen = {"cwd": os.getcwd(), "turn": os.environ.get("LEPTON_TEST_TURN"), "helper": lepton_test_helper.WORD}
            with open(os.environ["LEPTON_TEST_SEEN"], "w") as file:
                json.dump(seen, file)
        return x


model = keras.Sequential([keras.Input((4,)), Probe(), keras.layers.Dense(3, activation="softmax")])
"""


def test_workers_see_directory_environment_and_modules_of_the_moment(
    warm: int, runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import numpy as np

    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(PROBE, scope)
    modules = tmp_path / "modules"
    modules.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(modules)])
    seen = tmp_path / "seen.json"
    monkeypatch.setenv("LEPTON_TEST_SEEN", str(seen))
    for turn in ("first", "second"):
        place = tmp_path / turn
        place.mkdir()
        monkeypatch.chdir(place)
        monkeypatch.setenv("LEPTON_TEST_TURN", turn)
        (modules / "lepton_test_helper.py").write_text(f"WORD = {turn!r}\n")
        data = (np.zeros((8, 4), "float32"), np.arange(8) % 3)
        run = lk.launch(scope["model"], data, workers=1, global_batch=4, epochs=1, runs_dir=runs_dir)
        run.wait(PATIENCE)
        assert json.loads(seen.read_text()) == {"cwd": str(place), "turn": turn, "helper": turn}
    assert nursery() == warm


def test_many_launches_leave_no_descriptor_behind(warm: int, runs_dir: Path):
    def counted() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), psutil.Process(warm).num_fds()

    end(launch(runs_dir))
    before = counted()
    for _ in range(20):
        end(launch(runs_dir))
    assert counted() == before


def test_a_forked_run_survives_its_zygote(warm: int, runs_dir: Path):
    run = training(launch(runs_dir, epochs=ENDLESS, checkpoint_seconds=0.1))
    (zygote,) = driver_of(run).children()
    zygote.kill()
    eventually(lambda: len(run.view().generations) > 1, "formed again")
    end(run)
    assert run.view().incidents[0]["what"] == "ended with the process that forks workers"


@pytest.mark.long
def test_a_run_goes_on_without_its_nursery_and_the_next_launch_brings_another(warm: int, runs_dir: Path):
    run = training(launch(runs_dir, epochs=ENDLESS))
    os.kill(warm, signal.SIGKILL)
    eventually(lambda: gone(warm), "dead")
    step = run.view().step
    eventually(lambda: run.view().step > step + 2, "training on")
    launch(runs_dir).wait(PATIENCE)
    assert nursery() != warm
    end(run)


@pytest.mark.long
def test_a_nursery_that_does_not_answer_is_ended_and_done_without(
    warm: int, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    os.kill(warm, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(start, "TAKE_OVER_SECONDS", 0.5)
        run = launch(runs_dir)
    eventually(lambda: gone(warm), "ended")
    run.wait(PATIENCE)
    assert nursery() != warm


def test_cool_ends_all_that_waits_and_leaves_runs_alone(warm: int, runs_dir: Path):
    run = training(launch(runs_dir, epochs=ENDLESS))
    lk.warm(lk.LeptonModel((8, 8, 1), 10, 4), lk.data.sample("digits"), workers=1, global_batch=500)

    def others() -> list[psutil.Process]:
        return [child for child in psutil.Process(warm).children() if child != driver_of(run)]

    eventually(lambda: len(others()) == 1, "one driver without a run")
    waiting = others()
    lk.cool()
    eventually(lambda: gone(warm) and gone(waiting[0].pid), "ended")
    assert start._kept.nursery is start._kept.standby is None
    assert run.alive
    end(run)


CLIENT = """
import os, sys, time
import lepton_kit as lk
from lepton_kit.runtime import start


def launch(**options):
    model, data = lk.LeptonModel((8, 8, 1), 10, 4), lk.data.sample("digits")
    run = lk.launch(model, data, workers=1, global_batch=500, runs_dir=sys.argv[1], **options)
    print(run.directory, flush=True)
    return run


def nursery():
    while (kept := start._kept.ready_nursery()) is None:
        time.sleep(0.02)
    return kept.pid


{act}
time.sleep(1000)
"""


class Client:
    """Another process that launches, and all that it has started."""

    def __init__(self, act: str, runs_dir: Path):
        self.marker = f"LEPTON_TEST_CLIENT_{time.time_ns()}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT.format(act=act), str(runs_dir)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, self.marker: "1"},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self) -> lk.Run:
        return lk.open_run(self.line())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def nothing_stays(self) -> None:
        eventually(lambda: not left_behind(self.marker), "no process left")


@pytest.fixture
def client(runs_dir: Path, request: pytest.FixtureRequest) -> Any:
    made: list[Client] = []

    def make(act: str) -> Client:
        made.append(Client(act, runs_dir))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        for process in left_behind(one.marker):
            process.kill()


@pytest.mark.long
def test_a_client_killed_during_the_import_leaves_its_run_and_nothing_else(client: Callable[[str], Client]):
    one = client("launch(epochs=1)")
    run = one.run()
    one.kill()
    run.wait(PATIENCE)
    assert run.status == "finished"
    one.nothing_stays()


@pytest.mark.long
def test_a_client_killed_after_its_second_launch_leaves_its_run_and_a_fork_of_it_keeps_nothing(
    client: Callable[[str], Client],
):
    act = """
launch(epochs=1).wait()
print(nursery(), flush=True)
if os.fork() == 0:
    assert start._kept.nursery is None
    time.sleep(1000)
launch(epochs=1)
"""
    one = client(act)
    one.run()
    pid = int(one.line())
    run = one.run()
    (fork,) = psutil.Process(one.process.pid).children()
    one.kill()
    run.wait(PATIENCE)
    assert run.status == "finished"
    eventually(lambda: gone(pid), "ended with the client, although its fork lives")
    assert fork.is_running()
    fork.kill()
    one.nothing_stays()


@pytest.mark.long
def test_a_driver_killed_during_the_import_costs_the_next_launch_only_an_import(
    client: Callable[[str], Client],
):
    act = """
import signal
run = launch(epochs=1)
while run.view().driver_pid is None:
    time.sleep(0.01)
os.kill(run.view().driver_pid, signal.SIGKILL)
while run.alive or start._kept.ready_nursery() or start._kept.nursery:
    time.sleep(0.01)
launch(epochs=1)
print(nursery(), flush=True)
"""
    one = client(act)
    first, second = one.run(), one.run()
    second.wait(PATIENCE)
    assert int(one.line()) > 0
    assert first.status == "interrupted"
    one.kill()
    one.nothing_stays()
