"""What a driver makes of hosts that are not there yet, or not any more, on an executor without processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton_kit.client.run import Run
from lepton_kit.rundir import EventReader, RunPaths, RunView
from lepton_kit.runtime import driver as driving
from lepton_kit.runtime.executor import Ended, HostNews, Loss
from lepton_kit.runtime.group import WorkerGroup
from lepton_kit.runtime.places import Place
from lepton_kit.training import messages
from tests.configs import MODEL, any_config
from tests.runtime.fakes import FakeExecutor


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor([Place("one", 0, "cpu", 1)], awaits_places="waiting for two")


@pytest.fixture
def driver(executor: FakeExecutor, tmp_path: Path) -> Iterator[driving.Driver]:
    paths = RunPaths(tmp_path / "run")
    paths.create()
    config = any_config(model=MODEL, workers={"count": 2, "hosts": ["one", "two"]})
    paths.config.write_text(config.to_yaml())
    made = driving.Driver(paths, lambda _: WorkerGroup(executor))
    yield made
    made._ring.close()
    made._ledger._log.close()
    os.close(made._lock)


def view(driver: driving.Driver) -> RunView:
    found = RunView(driver._ledger.paths.events)
    found.refresh()
    return found


def test_workers_wait_for_hosts_and_the_log_says_for_whom_once(
    driver: driving.Driver, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
):
    driver.turn()
    assert list(executor.at) == [0]
    driver.turn()
    assert view(driver).warnings == []
    monkeypatch.setattr(driving, "PLACES_SECONDS", -1.0)
    driver.turn()
    driver.turn()
    (warning,) = view(driver).warnings
    assert warning["text"] == "2 workers need as many places, 1 are there: waiting for two"
    executor.offered.append(Place("two", 0, "cpu", 1))
    driver.turn()
    assert [place.host for place in executor.at.values()] == ["one", "two"]


def test_a_lost_host_is_one_incident_for_all_its_workers(driver: driving.Driver, executor: FakeExecutor):
    executor.offered.append(Place("two", 0, "cpu", 1))
    driver.turn()
    executor.said += [(worker, messages.Hello(pid=100 + worker)) for worker in (0, 1)]
    driver.turn()
    executor.offered.pop()
    executor.over += [Ended(1, None, "two: silent", excused=True, told=True)]
    executor.lost += [Loss("two: silent", host="two")]
    driver.turn()
    (incident,) = view(driver).incidents
    assert (incident["host"], incident["worker"], incident["what"]) == ("two", None, "two: silent")
    assert [member.worker for member in driver._roster.members.values()] == [0]
    assert driver._ring.cause == "two: silent"


def test_the_end_of_all_hosts_ends_the_run(driver: driving.Driver, executor: FakeExecutor, monkeypatch):
    monkeypatch.setattr(driving, "VERDICT_SECONDS", -1.0)
    executor.lost += [Loss("one: would compute something else", final=True, host="one")]
    assert driver.turn() == ("failed", "one: would compute something else")


def test_the_log_tells_of_hosts_when_one_comes_or_goes_and_not_each_megabyte(
    driver: driving.Driver, executor: FakeExecutor
):
    for state, doing in (("ready", "1 MB"), ("ready", "2 MB"), ("lost", "silent"), ("lost", "silent")):
        executor.news = [HostNews("one", 1, state, doing)]
        driver.turn()
    told = [event for event in EventReader(driver._ledger.paths.events).poll() if event["kind"] == "hosts"]
    assert [(event["hosts"][0]["state"], event["hosts"][0]["doing"]) for event in told] == [
        ("ready", "1 MB"), ("lost", "silent"),
    ]  # fmt: skip


def test_a_run_whose_application_was_taken_away_is_interrupted_and_says_why(
    driver: driving.Driver, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(driving, "VERDICT_SECONDS", -1.0)
    executor.lost += [Loss("the session is gone", final=True, host="spark", resumable=True)]
    status, cause = driver.turn() or ("", None)
    assert (status, cause) == ("interrupted", "the session is gone")
    assert [one["what"] for one in view(driver).incidents] == ["the session is gone"]
    driver._ledger.status(
        driving.Status.INTERRUPTED, driver._with_checkpoint(driving.Status.INTERRUPTED, cause)
    )
    run = Run(driver._ledger.paths)
    monkeypatch.setattr(Run, "alive", False)
    assert run.status == "interrupted"
    assert (run.cause or "").startswith("the session is gone (last checkpoint: none yet")
