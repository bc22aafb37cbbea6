"""A run in line has no workers, says its place and about how long it takes, and obeys what it is asked."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lepton_kit.errors import ConfigError
from lepton_kit.planning.allocation import Grant
from lepton_kit.rundir import EventReader, RunPaths, RunView, Status, send_request
from lepton_kit.rundir.control import VERBS
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
        self.entry = Entry("run", "me", 0.0, since=0.0)
        self.paused, self.away = False, -1.0

    def look(self) -> Grant:
        self.before()
        found = self.grants.pop(0) if len(self.grants) > 1 else self.grants[0]
        if isinstance(found, OSError | ConfigError):
            raise found
        return found

    def leave(self) -> None:
        self.left = True

    def come_back(self, away: float) -> None:
        self.left, self.away = False, away


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


def test_a_signal_ends_it_for_now_as_it_does_one_that_trains_and_its_handler_is_put_back(paths: RunPaths):
    before = signal.getsignal(signal.SIGTERM)
    looks = Looks(WAITS, before=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert wait(paths, looks) is Status.INTERRUPTED
    assert signal.getsignal(signal.SIGTERM) is before
    assert view(paths).cause == "its machine or its job ends"


def test_a_number_of_workers_leaves_the_line_and_auto_stays(paths: RunPaths):
    send_request(paths, "scale", workers="auto")
    looks = Looks(WAITS, before=lambda: send_request(paths, "scale", workers=2))
    assert wait(paths, looks) is None
    assert looks.left
    assert [(one["verb"], one["workers"], one["accepted"]) for one in view(paths).requests] == [
        ("scale", "auto", True), ("scale", 2, True)]  # fmt: skip


ASKED: list[tuple[str, dict[str, Any], str | None, Status | None]] = [
    ("set", {"learning_rate": 0.1}, None, None),
    ("set", {"log_seconds": 2.0}, None, None),
    ("scale", {"workers": 2}, None, None),
    ("scale", {"workers": "auto"}, None, None),
    ("scale", {"workers": 100}, "expected at most", None),
    ("slow", {"rank": 0, "factor": 2.0}, "it waits in line and has no worker yet", None),
    ("slow", {"rank": 0, "data_seconds": 1.0}, "it waits in line and has no worker yet", None),
    ("resume", {}, "it waits in line, and goes on by itself at its turn", None),
    ("stop", {}, None, Status.STOPPED),
    ("interrupt", {}, None, Status.INTERRUPTED),
]
"""Each verb, with what it is refused with in line and how it ends there (None: it trains at its turn); `pause` has a test."""


@pytest.mark.parametrize(("verb", "arguments", "refused", "ended"), ASKED)
def test_each_verb_is_granted_or_refused_in_words(
    paths: RunPaths, verb: str, arguments: dict, refused: str | None, ended: Status | None
):
    send_request(paths, verb, **arguments)
    looks = Looks(Grant("run", 1))
    assert wait(paths, looks) is ended
    (answer,) = view(paths).requests
    assert (answer["verb"], answer["accepted"]) == (verb, refused is None)
    assert (refused or "None") in str(answer["cause"])
    takes_no_part = ended is not None or arguments == {"workers": 2}
    assert looks.left == takes_no_part


def test_the_table_has_every_verb():
    assert {verb for verb, *_ in ASKED} | {"pause"} == set(VERBS)


def test_one_that_was_given_a_number_before_does_not_wait(paths: RunPaths):
    """Its driver died since, or it was asked while it gave its workers back."""
    send_request(paths, "scale", workers=2)
    assert wait(paths, Looks(WAITS)) is None
    looks = Looks(WAITS)
    assert wait(paths, looks) is None
    assert looks.left
    assert [one["status"] for one in EventReader(paths.events).poll() if one["kind"] == "status"] == [
        "queued"
    ]


def test_more_workers_than_there_is_memory_for_are_refused_and_it_stays_in_line(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(line, "memory", lambda: (10**12, 1000))
    send_request(paths, "scale", workers=1)
    looks = Looks(Grant("run", 1))
    looks.entry.worker_bytes = 10**8
    assert wait(paths, looks) is None
    assert not looks.left
    assert "1 more need about" in view(paths).requests[0]["cause"]


def test_what_is_no_request_is_told(paths: RunPaths):
    (paths.control / "0.json").write_text("{")
    assert wait(paths, Looks(Grant("run", 1))) is None
    assert "control/0.json" in view(paths).warnings[0]["text"]


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_paused_one_is_held_back_and_comes_back_when_it_is_resumed(paths: RunPaths, asked_before: bool):
    """Paused in line; or while it gave its workers back, which ``paused`` says."""
    looks = Looks(Grant("run", 1))
    looks.paused = asked_before
    if not asked_before:
        send_request(paths, "pause")
    seen: list[tuple[str, bool]] = []

    def tick(_: float) -> None:
        seen.append((describe(view(paths)), looks.left))
        if len(seen) == 3:
            send_request(paths, "resume")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(line.time, "sleep", tick)
        assert wait(paths, looks, seconds=0.2) is None
    held = ("paused · held back, others go first; resume puts it back in line", True)
    assert held in seen
    assert all(one == held for one in seen[1:3])
    assert looks.away >= 0
    assert not looks.left
    states = [one["status"] for one in EventReader(paths.events).poll() if one["kind"] == "status"]
    assert states == ["queued", "paused", "queued"]
    assert not looks.paused, "it is held back once"


def test_one_that_is_held_back_can_be_stopped_and_does_not_leave_for_a_number(paths: RunPaths):
    send_request(paths, "pause")
    send_request(paths, "scale", workers=2)
    waits = iter(range(1000))

    def tick(_: float) -> None:
        if next(waits) == 5:
            send_request(paths, "stop")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(line.time, "sleep", tick)
        assert wait(paths, Looks(WAITS)) is Status.STOPPED
    assert next(waits) > 5


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


@pytest.mark.parametrize(
    ("known", "now", "anew"),
    [
        (100.0, 155.0, False), (100.0, 156.0, True), (100.0, 67.0, False), (100.0, 66.0, True), (2.0, 8.0, False),
        (None, 5.0, True), (5.0, None, True), (None, None, False),
    ],
)  # fmt: skip
def test_an_estimate_is_told_anew_where_it_has_changed_by_half_and_some_seconds(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch, known: float | None, now: float | None, anew: bool
):
    monkeypatch.setattr(line, "TELL_SECONDS", -1.0)
    wait(
        paths,
        Looks(Grant("run", 0, 2, now, "waits in line"), Grant("run", 1)),
        Grant("run", 0, 2, known, "waits in line"),
    )
    assert len(told(paths)) == 1 + anew


def test_the_pace_of_a_line():
    """From 4 before it to 2 in 30 s: 15 s a place, so 45 s at first, and never less than a quarter of a place's."""
    places = [(100.0, 4), (120.0, 3), (130.0, 2)]
    for now, seconds in ((130.0, 45.0), (140.0, 35.0), (171.0, 4.0), (172.0, 3.75), (9e9, 3.75)):
        assert line.by_pace(places, now) == pytest.approx(seconds)
    for few in ([], [(1.0, 3)], [(1.0, 3), (2.0, 2)], [(1.0, 2), (2.0, 4)]):
        assert line.by_pace(few, 5.0) is None
    assert line.by_pace([*places, (140.0, 3), (160.0, 1)], 160.0) == pytest.approx(40.0), "it was overtaken"
