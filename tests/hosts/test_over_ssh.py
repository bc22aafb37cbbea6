"""Runs on real hosts: network namespaces, each with an sshd; workers, agents, links and sshds are lost on the way."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import pytest

import lepton_kit as lk
from lepton_kit.training import state
from tests.hosts.lab import Host, Lab
from tests.processes import trains, until
from tests.soak.storm import alone, apart, compiled

pytestmark = pytest.mark.processes
PATIENCE = 240.0


def killed(host: Host, words: str) -> None:
    """Kill the processes of a host whose command line has these words."""
    for pid in host.processes():
        try:
            if words in " ".join(psutil.Process(pid).cmdline()):
                os.kill(pid, signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue


def test_what_happens_to_hosts_changes_no_weight_and_loses_no_sample(net: Lab, tmp_path: Path):
    data = lk.data.sample("digits")
    run = lk.launch(
        compiled(), data, workers=3, hosts=["one:2", "two:2"], global_batch=700, epochs=1_000_000, hang_seconds=6,
        max_failures=100, checkpoint_seconds=2, log_seconds=0.1, runs_dir=tmp_path,
    )  # fmt: skip
    try:
        until(trains(run, 3), "training on three", run)
        run.scale(4)
        until(trains(run, 4), "growing", run)
        ranks = {row["host"] for row in run.view().workers if row["rank"] is not None}
        assert ranks == {"one", "two"}
        os.kill(next(row["pid"] for row in run.view().workers if row["rank"] == 3), signal.SIGKILL)
        lost = len(run.view().generations)
        until(lambda: len(run.view().generations) > lost, "noticing a worker that was killed", run)
        until(trains(run, 4), "replacing a worker that was killed", run)

        killed(net["one"], "hosts.agent")
        until(trains(run, 2), "going on without the host whose agent was killed", run)
        until(trains(run, 4), "having that host back", run)

        net["two"].cut()
        until(trains(run, 2), "going on without the host that can't be reached", run)
        net["two"].mend()
        until(trains(run, 4), "having that host back too", run)
        by_host = [one for one in run.view().incidents if one.get("host")]
        assert [one["host"] for one in by_host] == ["one", "two"]
        run.stop()
        until(lambda: not run.alive or run.status == "stopped", "stopping", run)
    finally:
        if run.alive:
            run.stop()
        for _ in range(600):
            if not run.alive:
                break
            time.sleep(0.1)
    assert run.status == "stopped", run.cause
    view, found = run.view(), lk.audit(run)
    assert found.problems == ()
    assert found.steps == view.step
    _, arrays = state.load_newest(run.paths.checkpoints)
    expected = alone(run.config.replace(**{"training.max_steps": view.step}), data.prepare())
    assert apart(expected, arrays) < 1e-5
    answers = run.predict(np.zeros((2, 8, 8, 1), np.float32))
    assert len(answers) == 2
    time.sleep(1.0)
    assert {name: host.processes() for name, host in net.hosts.items()} == {"one": [], "two": []}


class Doubled(keras.layers.Layer):
    """A layer of the user's own, which no host knows."""

    def call(self, x: Any) -> Any:
        print("doubled once more")
        return 2.0 * x


def test_a_model_of_ones_own_with_callbacks_trains_where_its_code_is_not(net: Lab, tmp_path: Path):
    keras.utils.set_random_seed(3)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    model = keras.Sequential([keras.Input((4,)), Doubled(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    run = lk.launch(
        model, (x, x[:, :1]), workers=2, hosts=["one", "two"], batch_size=16, epochs=3, runs_dir=tmp_path,
        callbacks=[keras.callbacks.EarlyStopping(patience=5, monitor="loss")],
    )  # fmt: skip
    run.wait()
    assert run.status == "finished", run.cause
    assert len(run.epochs) == 3
    assert run.model().predict(x, verbose=0).shape == (64, 1)
    assert "doubled once more" in run.logs(0), "what workers print comes back"


def test_a_host_whose_key_is_not_known_is_not_used(net: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "known_hosts").write_text("")
    config = (net.folder / "ssh_config").read_text()
    config = config.replace(str(net.folder / "known_hosts"), str(tmp_path / "known_hosts"))
    (tmp_path / "ssh_config").write_text(config)
    monkeypatch.setenv("LEPTON_SSH_COMMAND", f"ssh -F {tmp_path / 'ssh_config'}")
    with pytest.raises(lk.errors.RunError, match=r"(?s)one: .*Host key verification failed"):
        lk.launch(compiled(), lk.data.sample("digits"), workers=1, hosts=["one"], runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
