"""What is worth an alert, once each until it is over; and how it is told."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from lepton_kit.client import alerting
from lepton_kit.errors import ConfigError
from lepton_kit.rundir import EventLog, RunPaths, RunView
from lepton_kit.rundir.alerts import FREE_BYTES, Alert, Watch
from tests.rundir.test_ranks import steps

PLENTY = 10 * FREE_BYTES


def begun(*reports: dict[str, Any]) -> RunView:
    view = RunView()
    view.feed({"kind": "status", "time": 1.0, "status": "running", "cause": None})
    view.feed({"kind": "generation", "time": 1.0, "step": 0, "ranks": [0, 1], "world_size": 2})
    for report in reports:
        view.feed(report)
    return view


def kinds(found: list[Alert]) -> list[str]:
    return [one.kind for one in found]


def test_a_straggler_is_told_once_and_again_after_it_was_over():
    watch, view, at = Watch("demo-1"), begun(), 0
    told = []
    for busy in ([0.3, 0.9], [0.3, 0.3], [0.3, 0.9]):
        for _ in range(20):
            view.feed(steps(at * 10, 1.0, busy))
            at += 1
            told += watch.look(view, float(at), PLENTY)
    assert kinds(told) == ["straggler", "straggler"]
    assert told[0].run == "demo-1"
    assert told[0].text.startswith("rank 1 takes 3.0 × as long")


def test_a_stall_counts_while_it_trains_alone():
    watch, view = Watch("demo-1", stall_seconds=30.0), begun(steps(0, 1.0, [0.3, 0.3]))
    assert watch.look(view, 100.0, PLENTY) == []
    assert watch.look(view, 129.0, PLENTY) == []
    (alert,) = watch.look(view, 131.0, PLENTY)
    assert (alert.kind, alert.text) == ("stall", "no step for 31 s; the last was 10")
    assert watch.look(view, 500.0, PLENTY) == []
    view.feed(steps(10, 1.0, [0.3, 0.3]))
    assert watch.look(view, 501.0, PLENTY) == []
    view.feed({"kind": "status", "time": 1.0, "status": "paused", "cause": None})
    assert watch.look(view, 900.0, PLENTY) == []


def test_a_loss_that_is_no_number_is_told_alive_or_as_the_cause_of_the_end():
    view = begun(steps(0, 1.0, [0.3, 0.3]) | {"loss": [0.1] * 9 + [None]})
    assert kinds(Watch("demo-1").look(view, 1.0, PLENTY)) == ["nan"]
    view = begun()
    cause = "worker 0: the loss became nan at step 3 (epoch 0); a lower learning rate often helps"
    view.feed({"kind": "status", "time": 1.0, "status": "failed", "cause": cause})
    (alert,) = Watch("demo-1").look(view, 1.0, PLENTY)
    assert (alert.kind, alert.text) == ("nan", cause)


def test_a_full_disk_is_told_until_there_is_room():
    watch, view = Watch("demo-1"), begun()
    found = [
        kinds(watch.look(view, float(k), free))
        for k, free in enumerate((PLENTY, 1000, 1000, None, PLENTY, FREE_BYTES - 1))
    ]
    assert found == [[], ["disk"], [], [], [], ["disk"]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that is under way, on a full disk."""
    monkeypatch.setattr(alerting, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(alerting.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    paths = RunPaths(tmp_path / "demo-1")
    paths.create()
    log = EventLog(paths.events)
    log.append("status", status="running", cause=None, driver_pid=1)
    log.close()
    return SimpleNamespace(id=paths.id, paths=paths, alive=True)


def test_a_function_is_called_and_the_watch_ends_with_the_run(run: Any):
    heard = threading.Event()
    alerts = alerting.Alerts(run, lambda alert: heard.set())
    assert heard.wait(30)
    assert alerts.watching
    run.alive = False
    alerts.join(30)
    assert not alerts.watching
    assert kinds(alerts.told) == ["disk"]


def test_a_command_hears_what_there_is(run: Any, tmp_path: Path):
    said = tmp_path / "said"
    command = f'echo "$LEPTON_RUN $LEPTON_ALERT $LEPTON_TEXT" > "{said}.new" && mv "{said}.new" "{said}"'
    alerts = alerting.Alerts(run, command)
    while not said.exists():
        time.sleep(0.01)
    alerts.stop()
    assert said.read_text() == "demo-1 disk 0 MB are free where the run's folder lies\n"


@pytest.mark.parametrize("notify", [lambda alert: 1 / 0, "exit 3"])
def test_what_can_not_be_told_is_a_warning_and_no_end(run: Any, notify: Any, monkeypatch: pytest.MonkeyPatch):
    warned = []
    monkeypatch.setattr(alerting.warnings, "warn", lambda text, **_: warned.append(text))
    alerts = alerting.Alerts(run, notify)
    while not warned:
        time.sleep(0.01)
    assert alerts.watching
    alerts.stop()
    assert "alert disk of demo-1 could not be told" in warned[0]


@pytest.mark.parametrize(("notify", "stall"), [(3, 1.0), (" ", 1.0), ("true", 0), ("true", True)])
def test_what_makes_no_alert_is_refused(run: Any, notify: Any, stall: Any):
    with pytest.raises(ConfigError, match=r"alert|stall_seconds"):
        alerting.Alerts(run, notify, stall)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(alerting.warnings, "warn", lambda text, **_: found.append(text))
    return found


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("stopped", [False, True])
def test_a_command_that_hangs_is_ended_with_what_it_has_started(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: list[str], stopped: bool
):
    """After its time; or a moment after nobody wants to be told any more."""
    note = tmp_path / "pid"
    command = f'sleep 600 & echo $! > "{note}.new" && mv "{note}.new" "{note}"; wait'
    alerts = alerting.Alerts(run, command)
    while not note.exists():
        time.sleep(0.01)
    monkeypatch.setattr(alerting, "STOP_SECONDS", 0.05)
    if stopped:
        alerts.stop()
    else:
        alerts._until = 0.0  # its time is over
    while not warned:
        time.sleep(0.01)
    assert "could not be told: the command had not ended and was killed" in warned[0]
    while not gone(int(note.read_text())):
        time.sleep(0.01)
    assert alerts.watching is not stopped
    alerts.stop()


def test_a_function_that_never_returns_keeps_nobody_waiting(
    run: Any, monkeypatch: pytest.MonkeyPatch, warned: list[str]
):
    monkeypatch.setattr(alerting, "STOP_SECONDS", 0.05)
    free, calls = threading.Event(), []

    def hangs(alert: Alert) -> None:
        calls.append(alert)
        free.wait()

    alerts = alerting.Alerts(run, hangs)
    while not calls:
        time.sleep(0.01)
    alerts.stop()
    assert not alerts.watching
    assert warned == [
        "alert disk of demo-1 could not be told: the function has not returned, and is called no more until it has"
    ]
    free.set()


def test_a_function_that_hangs_misses_alerts_until_it_returns(
    run: Any, monkeypatch: pytest.MonkeyPatch, warned: list[str]
):
    monkeypatch.setattr(alerting, "TELL_SECONDS", 0.05)
    free, calls = threading.Event(), []

    def hangs(alert: Alert) -> None:
        calls.append(alert)
        if len(calls) == 1:
            free.wait()

    def another(count: int) -> None:
        """The disk has room for a while, and is full again."""
        monkeypatch.setattr(alerting.shutil, "disk_usage", lambda path: SimpleNamespace(free=PLENTY))
        while alerts._watch.look(alerts._view, time.monotonic(), PLENTY):
            time.sleep(0.01)
        monkeypatch.setattr(alerting.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        while len(alerts.told) < count:
            time.sleep(0.01)

    alerts = alerting.Alerts(run, hangs)
    while not warned:
        time.sleep(0.01)
    another(2)
    while len(warned) < 2:
        time.sleep(0.01)
    assert warned[1].endswith("the function has not returned from an earlier alert")
    free.set()
    alerts._telling.thread.join()
    another(3)
    while len(calls) < 2:
        time.sleep(0.01)
    alerts.stop()
    assert len(warned) == 2


def test_a_function_may_stop_its_own_alerts(run: Any, warned: list[str]):
    made: list[Any] = []
    alerts = alerting.Alerts(run, lambda alert: made[0].stop())
    made.append(alerts)
    alerts.join(60)
    assert not alerts.watching


LEAVES = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from lepton_kit.client import alerting
from lepton_kit.rundir import RunPaths

alerting.STOP_SECONDS = 0.05
alerting.LOOK_SECONDS = 0.01
alerting.shutil.disk_usage = lambda path: SimpleNamespace(free=1000)
paths = RunPaths(Path(sys.argv[1]))
note = Path(sys.argv[2])
run = SimpleNamespace(id="demo", paths=paths, alive=True)
alerting.Alerts(run, f'echo $$ > {note}.new && mv {note}.new {note}; exec sleep 600')
while not note.exists():
    time.sleep(0.01)
"""


def test_a_process_that_ends_leaves_no_command_behind(run: Any, tmp_path: Path):
    note = tmp_path / "pid"
    subprocess.run([sys.executable, "-c", LEAVES, str(run.paths.root), str(note)], check=True)
    while not gone(int(note.read_text())):
        time.sleep(0.01)
