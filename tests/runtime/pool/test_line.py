"""A run in line has no workers, says its place and about how long it takes, and obeys what it is asked."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lepton_kit.errors import ConfigError
from lepton_kit.planning.allocation import Grant
from lepton_kit.rundir import RunPaths, RunView, Status, send_request
from lepton_kit.rundir.line import place_told
from lepton_kit.rundir.told import describe
from lepton_kit.runtime.pool import line
from lepton_kit.runtime.pool.line import wait_in_line
from lepton_kit.runtime.pool.members import Entry
from tests.configs import any_config

WAITS = Grant("run", 0, 2, 250.0, "waits in line")


class Looks:
    """A share whose looks were decided before; before each something may happen."""

    def __init__(self, *grants: Grant, before: Callable[[], object] = lambda: None):
        self.grants, self.before, self.left = list(grants), before, False
        self.entry = Entry("run", "me", 0.0)

    def look(self) -> Grant:
        self.before()
        found = self.grants.pop(0) if len(self.grants) > 1 else self.grants[0]
        if isinstance(found, OSError | ConfigError):
            raise found
        return found

    def leave(self) -> None:
        self.left = True


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.setattr(line, "LOOK_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(line, "TICK_SECONDS", 0.0)
    made = RunPaths(tmp_path / "run")
    made.create()
    made.config.write_text(any_config(workers={"count": "auto"}).to_yaml())
    return made


def wait(paths: RunPaths, looks: Looks, first: Grant = WAITS, seconds: float = 0.01) -> Status | None:
    line.LOOK_SECONDS = (seconds, 0.0, seconds)
    return wait_in_line(paths, any_config(workers={"count": "auto"}), looks, first)  # type: ignore[arg-type]  # a stand-in


def view(paths: RunPaths) -> RunView:
    found = RunView(paths.events)
    found.refresh()
    return found


def told(paths: RunPaths) -> list[str | None]:
    """What was told of the place, in order."""
    found, seen = RunView(), []
    from lepton_kit.rundir import EventReader

    for event in EventReader(paths.events).poll():
        found.feed(event)
        if event["kind"] == "queue":
            seen.append(found.in_line)
    return seen


def test_it_says_each_place_once_and_goes_on_when_it_has_its_share(paths: RunPaths):
    said: list[str] = []
    looks = Looks(WAITS, Grant("run", 0, 1, 20.0, "waits for memory"), Grant("run", 2),
                  before=lambda: said.append(describe(view(paths))))  # fmt: skip
    assert wait(paths, looks) is None
    assert said == [
        "queued · 2 before you, about 4 min", "queued · 2 before you, about 4 min",
        "queued · 1 before you, about 20 s; waits for memory",
    ]  # fmt: skip
    assert told(paths) == ["2 before you, about 4 min", "1 before you, about 20 s; waits for memory"]
    assert view(paths).workers == []
    assert not looks.left


def test_an_estimate_that_changes_much_is_told_anew_but_not_at_once(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
):
    other = Grant("run", 0, 2, 60.0, "waits in line")
    wait(paths, Looks(other, Grant("run", 1)))
    assert len(told(paths)) == 1
    monkeypatch.setattr(line, "TELL_SECONDS", 0.0)
    wait(paths, Looks(WAITS, other, Grant("run", 1)))
    assert told(paths)[1:] == ["2 before you, about 4 min", "2 before you, about 60 s"]


def test_a_run_that_is_stopped_in_line_ends_and_leaves_it(paths: RunPaths):
    send_request(paths, "stop")
    looks = Looks(WAITS)
    assert wait(paths, looks) is Status.STOPPED
    assert looks.left
    found = view(paths)
    assert (found.status, found.in_line, found.requests[0]["accepted"]) == ("stopped", None, True)
    assert paths.read_status()["status"] == "stopped"


def test_a_signal_ends_it_too_and_its_handler_is_put_back(paths: RunPaths):
    before = signal.getsignal(signal.SIGTERM)
    looks = Looks(WAITS, before=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert wait(paths, looks) is Status.STOPPED
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_number_of_workers_leaves_the_line_and_auto_stays(paths: RunPaths):
    send_request(paths, "scale", workers="auto")
    looks = Looks(WAITS, before=lambda: send_request(paths, "scale", workers=2))
    assert wait(paths, looks) is None
    assert looks.left
    assert [(one["verb"], one["workers"], one["accepted"]) for one in view(paths).requests] == [
        ("scale", "auto", True), ("scale", 2, True)]  # fmt: skip


def test_other_requests_are_kept_for_later_or_refused_with_the_reason(paths: RunPaths):
    send_request(paths, "set", learning_rate=0.1)
    send_request(paths, "pause")
    (paths.control / "0.json").write_text("{")
    assert wait(paths, Looks(Grant("run", 1))) is None
    found = view(paths)
    assert [one["accepted"] for one in found.requests] == [True, False]
    assert "waits in line" in found.requests[1]["cause"]
    assert "control/0.json" in found.warnings[0]["text"]


def test_a_run_whose_folder_is_deleted_while_it_waits_ends(paths: RunPaths):
    looks = Looks(WAITS, before=lambda: shutil.rmtree(paths.root))
    assert wait(paths, looks) is Status.FAILED
    assert not paths.root.exists()


def test_a_pool_that_cannot_be_read_now_is_tried_again(paths: RunPaths):
    looks = Looks(OSError(5, "Input/output error"), TimeoutError("held"), Grant("run", 1))  # type: ignore[arg-type]  # failures among them
    assert wait(paths, looks) is None


def test_a_pool_that_cannot_be_used_any_more_is_told_and_tried_again(paths: RunPaths):
    """A run that has waited for hours does not end because somebody put a file where the folder was."""
    lost = ConfigError("LEPTON_POOL", given="/pool", rule="a folder, and no link to one")
    assert wait(paths, Looks(WAITS, lost, Grant("run", 1))) is None  # type: ignore[arg-type]  # a stand-in
    assert "can't be used now" in str(told(paths)[1])
    assert "LEPTON_POOL" in str(told(paths)[1])


def test_a_place_in_words():
    assert place_told(1, 89.6) == "1 before you, about 2 min"
    assert place_told(1, 0.0) == "1 before you, about 1 s"
    assert place_told(1, 7300.0) == "1 before you, about 2 h"


def test_a_line_that_moves_tells_its_pace_to_all(paths: RunPaths, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        line, "by_pace", lambda places, now: 7.0 if places[0][1] - places[-1][1] > 1 else None
    )
    looks = Looks(
        Grant("run", 0, 1, None, "waits in line"), Grant("run", 0, 0, None, "waits in line"), Grant("run", 1)
    )
    wait(paths, looks, first=Grant("run", 0, 2, None, "waits in line"))
    assert told(paths) == ["2 before you", "1 before you", "you are next, about 7 s"]
    assert looks.entry.wait_seconds == 7.0


def test_who_is_overdue_is_not_told_that_no_time_is_left():
    places = [(0.0, 4), (10.0, 3), (20.0, 2)]
    assert line.by_pace(places, 1000.0) == 2.5
    assert line.by_pace([], 5.0) is None
