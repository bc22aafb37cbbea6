"""Where a run may go on, and with how many workers; nothing starts here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit import cli
from lepton_kit.client import resuming
from lepton_kit.client.launch import plan
from lepton_kit.client.resuming import AS_IT_WAS, elsewhere, moved
from lepton_kit.client.run import open_run
from lepton_kit.config import RunConfig
from lepton_kit.errors import ConfigError, RunError
from lepton_kit.rundir import EventLog, Status
from lepton_kit.rundir.view import RunView
from lepton_kit.runtime.reports import Ledger
from lepton_kit.runtime.wishes import Wishes


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a run that was stopped, with these options and requests."""
    monkeypatch.setattr(resuming, "reach", lambda *_: None)

    def make(*asked: tuple[str, dict[str, Any]], **options: Any) -> lk.Run:
        folder = tmp_path / "runs" / "mine"
        for part in ("checkpoints", "control", "logs"):
            (folder / part).mkdir(parents=True)
        planned = plan(lk.LeptonModel((8, 8, 1), 10, 8, 1), lk.data.sample("digits"), **options)
        config = planned.store(folder)
        (folder / "config.yaml").write_text(config.to_yaml())
        run = open_run(folder)
        book = Ledger(run.paths, EventLog(run.paths.events), places=config.workers.whereabouts)
        book.begin(config.model.model_dump())
        for verb, arguments in asked:
            book.append("request", {"verb": verb, **arguments, "accepted": True, "cause": None})
        book.end(Status.STOPPED, None)
        return run

    return make


def test_it_is_another_place_only_where_something_is_asked():
    assert not elsewhere(AS_IT_WAS, None)
    assert elsewhere(AS_IT_WAS, 2)
    assert elsewhere(None, None)
    assert elsewhere(["two"], None)


def test_it_goes_on_with_the_workers_that_it_had_last(stopped: Any):
    run = stopped(("scale", {"workers": 3}), ("set", {"learning_rate": 0.5}), workers=2)
    config = moved(run, "two:4, three:1", None)
    assert config.workers.whereabouts == {"workers": 3, "hosts": ["two:4", "three:1"]}
    assert moved(run, "two:4", 4).workers.count == 4
    assert moved(run, None, None).workers.whereabouts == {"workers": 3, "hosts": None}
    assert moved(run, AS_IT_WAS, 1).workers.whereabouts == {"workers": 1, "hosts": None}


def test_what_was_said_of_the_old_places_no_longer_counts(stopped: Any):
    run = stopped(workers=2, weights=(3.0, 1.0), allreduce="shared_memory")
    found = moved(run, "two:2", None).workers
    assert (found.weights, found.allreduce) == (None, "auto")
    assert moved(run, AS_IT_WAS, 2).workers.weights == (3.0, 1.0)
    assert moved(run, AS_IT_WAS, 3).workers.weights is None


def test_shares_that_are_learned_are_learned_there_too(stopped: Any):
    assert moved(stopped(workers=2, weights="auto"), "two:2", None).workers.weights == "auto"


@pytest.mark.parametrize(
    ("hosts", "workers", "said"),
    [
        ("two", None, r"workers\.count: got 2; expected at most the 1 slots of the hosts"),
        ("two two", None, r"workers\.hosts|hosts"),
        ([], None, "hosts: got"),
        (AS_IT_WAS, 0, r"workers\.count: got 0"),
        (
            None,
            5000,
            r"training\.global_batch: got 128; expected at least one sample for each of the 5000|at most the",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_run_as_it_was(
    stopped: Any, hosts: Any, workers: Any, said: str
):
    run = stopped(workers=2)
    before = run.paths.config.read_text()
    with pytest.raises(ConfigError, match=said):
        run.resume(hosts=hosts, workers=workers)
    assert run.paths.config.read_text() == before
    assert run.status == "stopped"


def test_a_session_has_places_of_its_own(stopped: Any):
    with pytest.raises(ConfigError, match="its tasks are the places"):
        moved(stopped(workers=2), "two:2", None, spark=object())


def test_a_run_whose_driver_is_away_stays_where_it_is(stopped: Any):
    run = stopped(workers=2)
    run.paths.config.write_text(run.config.replace(**{"workers.driver": "far"}).to_yaml())
    run.forget_config()
    with pytest.raises(RunError, match="its driver is on far"):
        moved(run, None, None)


def test_a_finished_run_goes_nowhere(stopped: Any):
    run = stopped(workers=2)
    Ledger(run.paths, EventLog(run.paths.events)).end(Status.FINISHED, None)
    with pytest.raises(RunError, match="has finished"):
        run.resume(hosts=None)


def test_a_driver_that_can_not_start_leaves_the_configuration_as_it_was(
    stopped: Any, monkeypatch: pytest.MonkeyPatch
):
    def full(paths: Any) -> None:
        assert RunConfig.load(paths.config).workers.count == 3
        raise RunError("no room")

    run = stopped(workers=2)
    monkeypatch.setattr(resuming, "start_driver", full)
    with pytest.raises(RunError, match="no room"):
        run.resume(workers=3)
    assert RunConfig.load(run.paths.config).workers.count == run.config.workers.count == 2


def test_a_driver_elsewhere_forgets_the_numbers_of_before_and_keeps_the_rest(stopped: Any):
    asked = [("scale", {"workers": 3}), ("set", {"learning_rate": 0.5})]
    run = stopped(*asked, workers=2)
    for workers, hosts, expected in ((2, None, 3), (4, None, 4), (4, ["two:8"], 4)):
        changes = {"workers.count": workers, "workers.hosts": hosts}
        config = RunConfig.load(run.paths.config).replace(**changes)
        places = config.workers.whereabouts
        book = Ledger(run.paths, EventLog(run.paths.events), places=places)
        wishes = Wishes(config, cores=2)
        wishes.recall(book.view.moves.standing(book.view.requests, places))
        assert (wishes.workers, wishes.learning_rate) == (expected, 0.5)
        book.begin({})
        book.status(Status.RUNNING)
    book.append("request", {"verb": "scale", "workers": 6, "accepted": True, "cause": None})
    view = RunView(run.paths.events)
    view.refresh()
    assert [one["verb"] for one in view.moves.standing(view.requests, places)] == ["set", "scale"]
    book.begin({})  # the next driver there
    wishes = Wishes(config, cores=2)
    view = Ledger(run.paths, EventLog(run.paths.events)).view
    wishes.recall(view.moves.standing(view.requests, places))
    assert wishes.workers == 6


def test_a_log_that_tells_of_hosts_tells_that_they_are_left(stopped: Any):
    run = stopped(workers=2)
    book = Ledger(run.paths, EventLog(run.paths.events))
    book.append("hosts", {"hosts": [{"host": "one", "slots": 1, "state": "ready", "doing": None}]})
    book = Ledger(run.paths, EventLog(run.paths.events))
    book.hosts([])
    assert book.view.hosts == []


@pytest.mark.parametrize(
    ("given", "hosts", "workers"),
    [
        ([], AS_IT_WAS, None),
        (["--hosts", "gpu-box:4,lab-3"], "gpu-box:4,lab-3", None),
        (["--hosts", "none", "--workers", "3"], None, 3),
        (["--workers", "auto"], AS_IT_WAS, "auto"),
    ],
)
def test_a_run_goes_on_where_it_is_told_to(
    stopped: Any, monkeypatch: pytest.MonkeyPatch, given: list[str], hosts: Any, workers: Any
):
    asked: list[Any] = []
    monkeypatch.setattr("lepton_kit.client.run.Run.resume", lambda run, **told: asked.append(told))
    folder = stopped(workers=2).directory
    assert cli.main(["--runs-dir", str(folder.parent), "resume", folder.name, *given]) == 0
    assert asked == [{"hosts": hosts, "workers": workers}]
