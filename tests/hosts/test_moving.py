"""A run that was stopped on some hosts goes on on others, or on this machine alone, and loses nothing by it."""

from __future__ import annotations

from pathlib import Path

import pytest

import lepton_kit as lk
from lepton_kit.client.run import open_run
from lepton_kit.training import state
from tests.hosts.lab import Lab
from tests.processes import trains, until
from tests.soak.storm import alone, apart, compiled

pytestmark = pytest.mark.processes


def stopped(run: lk.Run) -> int:
    run.stop()
    until(lambda: not run.alive, "stopping", run)
    assert run.status == "stopped", run.cause
    return run.view().step


@pytest.mark.long
def test_a_run_moves_from_host_to_host_and_back_to_this_machine(net: Lab, tmp_path: Path):
    data = lk.data.sample("digits")
    run = lk.launch(
        compiled(), data, workers=2, hosts=["one", "two"], global_batch=700, epochs=1_000_000, hang_seconds=6,
        log_seconds=0.1, runs_dir=tmp_path,
    )  # fmt: skip
    try:
        until(trains(run, 2), "training on both", run)
        with pytest.raises(lk.errors.RunError, match="stop it first"):
            run.resume(hosts="two:2")
        run.scale(1)
        until(trains(run, 1), "training on one", run)
        steps = [stopped(run)]

        with pytest.raises(lk.errors.RunError, match="nowhere"):
            run.resume(hosts="nowhere")
        assert run.status == "stopped"
        assert run.config.workers.hosts is not None

        run.resume(hosts="two:2", workers=2)
        until(trains(run, 2), "training on the other host", run)
        until(lambda: run.view().step > steps[-1], "going on", run)
        assert {row["host"] for row in run.view().workers if row["rank"] is not None} == {"two"}
        steps.append(stopped(run))

        open_run(run.directory).resume(hosts=None)
        assert open_run(run.directory).config.workers.hosts is None
        until(lambda: run.view().hosts == [], "leaving the hosts", run)
        until(trains(run, 2), "training here", run)
        until(lambda: run.view().step > steps[-1], "going on", run)
        steps.append(stopped(run))
    finally:
        if run.alive:
            run.stop()
        until(lambda: not run.alive, "the end", run)
    assert steps == sorted(set(steps)), "each trained some steps"
    assert lk.audit(run).problems == ()
    _, arrays = state.load_newest(run.paths.checkpoints)
    expected = alone(run.config.replace(**{"training.max_steps": steps[-1]}), data.prepare())
    assert apart(expected, arrays) < 1e-5
    assert {name: host.processes() for name, host in net.hosts.items()} == {"one": [], "two": []}
