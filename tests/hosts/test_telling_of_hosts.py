"""Panels tell of hosts where a run has some, and of none where it has not."""

from __future__ import annotations

from typing import Any

import pytest

from lepton_kit.panels import telling
from lepton_kit.rundir import RunView
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
