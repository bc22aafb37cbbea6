"""Panels tell of hosts where a run has some, and of none where it has not."""

from __future__ import annotations

from typing import Any

import pytest

from lepton_kit.panels import telling
from lepton_kit.rundir import RunView
from lepton_kit.rundir.fields import WRONG
from lepton_kit.rundir.told import describe
from lepton_kit.runtime.places import HERE


def view(*hosts: str) -> RunView:
    made = RunView()
    rows: list[dict[str, Any]] = [
        {"worker": k, "pid": 100 + k, "state": "standby", "rank": None, "memory_bytes": None, "host": host}
        for k, host in enumerate(hosts)
    ]
    made.feed({"time": 1.0, "kind": "workers", "wanted": len(rows), "workers": rows})
    return made


@pytest.mark.parametrize(("hosts", "told"), [((HERE, HERE), False), ((HERE, "gpu<box>"), True)])
def test_the_workers_table_has_hosts_where_there_are_some(hosts: tuple[str, ...], told: bool):
    text = telling.workers(view(*hosts))
    assert (">host</th>" in text) is told
    assert ("gpu&lt;box&gt;" in text) is told
    assert "gpu<box>" not in text


def test_a_lost_host_is_told_without_a_worker():
    made = view("one")
    made.feed(
        {"time": 2.0, "kind": "incident", "worker": None, "rank": None, "host": "one", "what": "one: silent"}
    )
    assert "one: silent" in telling.incidents(made)
    assert "worker None" not in telling.incidents(made)


def test_what_a_run_waits_for_on_hosts_is_told_while_it_starts_and_later():
    made = view("one", "two")
    rows = [
        {"host": "one", "slots": 1, "state": "ready", "doing": "sending files: 34 of 120 MB"},
        {"host": "<two>", "slots": 1, "state": "connecting", "doing": "connecting"},
        {"host": "three", "slots": 1, "state": "ready", "doing": None},
    ]
    made.feed({"time": 2.0, "kind": "hosts", "hosts": rows})
    assert made.awaited == "one: sending files: 34 of 120 MB · <two>: connecting"
    assert "one: sending files: 34 of 120 MB · &lt;two&gt;: connecting" in telling.summary(made, "run")
    assert "one: sending files" in describe(made)
    made.feed({"time": 3.0, "kind": "status", "status": "failed", "cause": "no"})
    assert made.awaited == ""


@pytest.mark.parametrize("rows", [[{"host": 3, "state": "ready"}], [{"host": "a"}], ["a"], "a"])
def test_foreign_lines_of_hosts_are_passed_over(rows: Any):
    with pytest.raises(WRONG):
        view("one").feed({"time": 2.0, "kind": "hosts", "hosts": rows})
