"""Runs on a real Slurm of two nodes on this machine: a lost node, a cancelled job, one that comes back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.training import native, state
from tests.hosts.slurm_lab import Slurm, slurm, why_not
from tests.processes import trains
from tests.soak.storm import alone, apart, compiled

pytestmark = pytest.mark.processes
PATIENCE = 240.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with slurm() as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(made.conf))
        cache = tmp_path_factory.mktemp("cache")
        if native.available():
            built = native.library_path().parent.parent
            (cache / "lepton_kit").mkdir()
            (cache / "lepton_kit" / built.name).symlink_to(built)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield made


def until(condition: Callable[[], Any], what: str, run: lk.Run) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        ended = run.status in ("finished", "stopped", "failed")
        assert not ended, (what, run.status, run.cause, said(run))
        assert time.monotonic() < deadline, (what, run.status, said(run))
        time.sleep(0.05)


def said(run: lk.Run) -> dict[str, str]:
    """Its incidents, and the ends of all its logs."""
    told = {"incidents": str([one["what"] for one in run.view().incidents])}
    return told | {log.name: log.read_text(errors="replace")[-600:] for log in run.paths.logs.glob("*.log")}


def check(run: lk.Run, data: Any) -> None:
    """Its weights are those of one process, and each sample was used once."""
    found = lk.audit(run)
    assert found.problems == ()
    _, arrays = state.load_newest(run.paths.checkpoints)
    expected = alone(run.config.replace(**{"training.max_steps": run.view().step}), data.prepare())
    assert apart(expected, arrays) < 1e-5


@pytest.mark.long
def test_a_node_that_is_set_down_is_a_lost_host(
    cluster: Slurm, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    data = lk.data.sample("digits")
    options = {"workers": 2, "hosts": "slurm", "global_batch": 700, "epochs": 1_000_000, "runs_dir": runs_dir}
    with pytest.raises(lk.errors.RunError, match=r"stands in no Slurm allocation.*salloc.*lepton submit"):
        lk.launch(compiled(), data, **options)
    given = cluster.allocate()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    checked = lk.Cluster("slurm").check()
    assert checked.problems == []
    assert [(row["host"], row["slots"], row["interface"]) for row in checked.table().reset_index().to_dict("records")] == [
        ("n1", 1, "lo"), ("n2", 1, "lo"),
    ]  # fmt: skip
    with pytest.raises(lk.errors.ConfigError, match="at most the 2 slots of the hosts"):
        lk.launch(compiled(), data, **{**options, "workers": 3})
    run = lk.launch(compiled(), data, checkpoint_seconds=2, **options)
    try:
        until(trains(run, 2), "training on two nodes", run)
        assert {row["host"] for row in run.view().workers if row["rank"] is not None} == {"n1", "n2"}
        cluster.ask("scontrol", "update", "nodename=n2", "state=down", "reason=test")
        until(trains(run, 1), "going on without the node that was set down", run)
        assert [one["host"] for one in run.view().incidents if one.get("host")] == ["n2"]
        run.stop()
        run.wait(PATIENCE)
    finally:
        cluster.ask("scancel", given["SLURM_JOB_ID"])
        cluster.ask("scontrol", "update", "nodename=n2", "state=resume")
    assert run.status == "stopped", run.cause
    check(run, data)


def test_a_job_that_is_cancelled_is_interrupted_with_a_checkpoint(cluster: Slurm, runs_dir: Path):
    data = lk.data.sample("digits")
    run = lk.submit(
        compiled(), data, workers=2, epochs=1_000_000, checkpoint_seconds=1000, log_seconds=0.1,
        runs_dir=runs_dir, slurm={"nodes": 2},
    )  # fmt: skip
    number = cluster.ask("squeue", "-h", "-o", "%i")
    until(trains(run, 2), "training as a job", run)
    cluster.ask("scancel", number)
    until(lambda: run.status == "interrupted", "noticing that the job ends", run)
    assert "its machine or its job ends" in str(run.cause)
    check(run, data)


def test_a_job_near_its_time_limit_goes_on_in_the_queue(cluster: Slurm, runs_dir: Path):
    data = lk.data.sample("digits")
    run = lk.submit(
        compiled(), data, workers=2, epochs=1_000_000, checkpoint_seconds=1000, log_seconds=0.1,
        runs_dir=runs_dir, slurm={"requeue": True},
    )  # fmt: skip
    number = cluster.ask("squeue", "-h", "-o", "%i")
    until(trains(run, 2), "training as a job", run)
    cluster.ask("scancel", "--signal=USR1", "--batch", number)  # as Slurm does before the time limit
    until(lambda: run.status == "queued", "being in the queue again", run)
    done = run.view().step
    cluster.start_at_once(number)
    until(lambda: run.status == "running" and run.view().step > done > 0, "going on after the queue", run)
    run.stop()
    run.wait(PATIENCE)
    assert run.status == "stopped", (run.cause, said(run))
    check(run, data)
    assert [one["status"] for one in statuses(run)].count("interrupted") == 1
    until_gone = time.monotonic() + PATIENCE
    while number in cluster.ask("squeue", "-h", "-o", "%i").split():
        assert time.monotonic() < until_gone, "a run that was stopped is still a job of the queue"
        time.sleep(0.1)


def statuses(run: lk.Run) -> list[dict[str, Any]]:
    from lepton_kit.rundir import EventReader

    return [event for event in EventReader(run.paths.events).poll() if event["kind"] == "status"]
