"""Runs on hosts in trouble: full disks, slow links, hosts that are shared, a driver that stands still or is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import lepton_kit as lk
from lepton_kit.client.cluster import Cluster
from lepton_kit.rundir import EventReader, RunPaths
from lepton_kit.runtime.hosts.findings import Checked
from tests.hosts.lab import Host, Lab, lab, why_not
from tests.hosts.lab import run as lab_run
from tests.processes import trains, until
from tests.soak.storm import compiled

pytestmark = pytest.mark.processes
PATIENCE = 120.0
SMALL = "mkdir -p {0}; mount -t tmpfs -o size=300k tmpfs {0}"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Hosts one and two; and small, whose cache lies on a disk of 300 kB."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("lab")
    before = {"small": SMALL.format(folder / "cache-small")}
    with lab(folder, "one", "two", "small", before=before) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_SSH_COMMAND", made.ssh_command)
        yield made


def gone(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def ours(host: Host) -> list[str]:
    """The command lines of agents and workers there; sshd's own processes end once the driver's ssh has."""
    found = []
    for pid in host.processes():
        with contextlib.suppress(psutil.Error):
            found += [text for text in [" ".join(psutil.Process(pid).cmdline())] if "lepton_kit" in text]
    return found


def ended(run: lk.Run) -> None:
    if run.alive:
        run.stop()
    gone(lambda: not run.alive, "the driver's end")


def rows(megabytes: float) -> Any:
    random = np.random.default_rng(0)
    x = random.normal(size=(int(megabytes * 1e6 / 256), 8, 8, 1)).astype(np.float32)
    return x, random.integers(0, 10, len(x))


@pytest.mark.long
def test_a_host_whose_disk_is_full_is_one_incident_and_the_others_go_on(
    three: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = rows(1.0)
    with pytest.raises(
        lk.errors.RunError, match=r"small: the run's files take 1 MB, 0 MB are free at .*cache-small"
    ):
        lk.launch(compiled(), data, workers=2, hosts="one,small", runs_dir=tmp_path)
    # It fills up only once the run has begun.
    monkeypatch.setattr(Cluster, "check_for", lambda *_: Checked(()))
    run = lk.launch(
        compiled(), data, workers=2, hosts="one,small", global_batch=200, epochs=1_000_000, log_seconds=0.1,
        max_failures=1, runs_dir=tmp_path,
    )  # fmt: skip
    try:
        until(lambda: run.view().incidents, "an incident", run)
        until(trains(run, 1), "going on without the host", run)
        tried = time.monotonic() + 4.0  # it is tried again meanwhile, twice
        until(lambda: time.monotonic() > tried and run.view().step > 20, "going on", run)
    finally:
        ended(run)
    assert run.status == "stopped", run.cause
    (incident,) = run.view().incidents
    assert incident["host"] == "small"
    assert "small: the run's files can't be stored there (" in incident["what"]
    assert "space" in incident["what"] or "full" in incident["what"]


@pytest.mark.soak
def test_two_runs_share_a_host_and_its_cache_over_a_slow_link(three: Lab, tmp_path: Path):
    one, data = three["one"], rows(3.0)
    one.shape("8mbit")
    settings: dict[str, Any] = {
        "hosts": "one", "global_batch": 500, "epochs": 2, "log_seconds": 0.1, "runs_dir": tmp_path, "hang_seconds": 30,
    }  # fmt: skip
    first = lk.launch(compiled(), data, workers=1, **settings)
    try:
        until(lambda: "sending files: " in first.view().awaited, "told of files on their way", first)
        one.shape("10gbit")
        second = lk.launch(compiled(), data, workers=1, **settings)
        try:
            for run in (first, second):
                gone(lambda run=run: not run.alive, "the end of a run")
                assert run.status == "finished", run.cause
                assert lk.audit(run).exactly_once
        finally:
            ended(second)
    finally:
        ended(first)
    told = [
        event for event in EventReader(RunPaths(second.directory).events).poll() if event["kind"] == "hosts"
    ]
    assert not any("of 3 MB" in (row["doing"] or "") for event in told for row in event["hosts"])
    assert (one.cache / "lepton_kit" / "hosts" / "contents").is_dir()
    gone(lambda: not any((one.cache / "lepton_kit" / "hosts" / "runs").iterdir()), "mirrors removed")
    assert "runs that are served: 0" in lk.Cluster("one").clean()["one"]
    left = [path.name for path in (one.cache / "lepton_kit" / "hosts" / "contents").iterdir()]
    assert left == [".lock"]


@pytest.mark.long
def test_agents_end_their_workers_without_a_driver_and_the_run_resumes_from_its_checkpoint(
    three: Lab, tmp_path: Path
):
    run = lk.launch(
        compiled(), rows(1.0), workers=2, hosts="one,two", global_batch=200, epochs=1_000_000, log_seconds=0.1,
        checkpoint_seconds=0.5, hang_seconds=3, runs_dir=tmp_path,
    )  # fmt: skip
    try:
        until(lambda: run.view().checkpoints and trains(run, 2)(), "a checkpoint", run)
        driver = run.view().driver_pid
        assert driver is not None
        os.kill(driver, signal.SIGSTOP)
        gone(lambda: not (ours(three["one"]) or ours(three["two"])), "agents end by themselves")
        os.kill(driver, signal.SIGKILL)
        gone(lambda: run.status == "interrupted", "noticed")
        before = run.view().step
        run.resume()
        until(lambda: run.view().step > before + 5, "going on", run)
    finally:
        ended(run)
    assert run.status == "stopped", run.cause
    assert lk.audit(run).problems == ()


@pytest.mark.soak
def test_hosts_that_do_not_reach_each_other_are_one_incident_until_they_do(three: Lab, tmp_path: Path):
    run = lk.launch(
        compiled(), rows(1.0), workers=2, hosts="one,two", global_batch=200, epochs=1_000_000, log_seconds=0.1,
        hang_seconds=5, max_failures=5, runs_dir=tmp_path,
    )  # fmt: skip
    away = ("-n", three["two"].namespace, "route")
    try:
        until(trains(run, 2), "training on both", run)
        lab_run("ip", *away, "add", "blackhole", f"{three['one'].address}/32")
        until(
            lambda: any(one.get("host") == "two" for one in run.view().incidents), "an incident by host", run
        )
        until(trains(run, 1), "going on with one", run)
        lab_run("ip", *away, "del", "blackhole", f"{three['one'].address}/32")
        until(trains(run, 2), "training on both again", run)
    finally:
        ended(run)
    assert run.status == "stopped", run.cause
    assert [one["what"] for one in run.view().incidents if one.get("host")] == [
        "two: is cut off from one (no answer)"
    ]
    assert lk.audit(run).problems == ()
