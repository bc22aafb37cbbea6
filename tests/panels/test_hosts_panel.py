"""The hosts panel: adding, choosing, checking and forgetting hosts, and what each contributes to a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.hosts import HostSpec, known_hosts
from lepton_kit.panels import host_lines, still
from lepton_kit.panels import hosts as panels
from lepton_kit.rundir import RunView
from lepton_kit.runtime.hosts import talk
from lepton_kit.runtime.hosts.findings import Checked, Found, Pair
from tests.configs import any_config


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def panel() -> Iterator[panels.HostsPanel]:
    made = panels.HostsPanel()
    yield made
    made.close()


def words(panel: panels.HostsPanel) -> str:
    return " ".join(still.words_of(panel.view))


def test_without_hosts_a_run_is_as_ever(panel: panels.HostsPanel):
    assert panel.settings() == {}
    assert "No host yet" in words(panel)
    assert panel.check.disabled
    panel.look()
    assert not panel._looking.busy


def test_hosts_are_added_chosen_resized_and_forgotten(panel: panels.HostsPanel):
    panel.name.value = "gpu-box:4"
    panel.add.click()
    panel.add_host("localhost/a")
    assert panel.settings() == {"hosts": ["gpu-box:4", "localhost/a:1"]}
    assert panel.name.value == ""
    panel.rows[0].slots.value = 2
    panel.rows[1].use.value = False
    assert panel.settings() == {"hosts": ["gpu-box:2"]}
    assert [(one.name, one.slots) for one in known_hosts()] == [("gpu-box", 2), ("localhost/a", 1)]
    again = panels.HostsPanel()
    assert repr(again) == "<HostsPanel: 2 hosts, 0 chosen>"
    again.close()
    panel.rows[0].forget.click()
    assert [one.name for one in known_hosts()] == ["localhost/a"]
    assert panel.settings() == {}


def test_a_wrong_name_is_said_in_the_panel(panel: panels.HostsPanel):
    panel.add_host("gpu-box:many")
    assert "hosts.0: got 'gpu-box:many'; expected name or name:slots" in panel.complaint
    assert known_hosts() == []


def test_what_a_host_has_more_than_slots_goes_along(panel: panels.HostsPanel):
    lk.Cluster([{"name": "gpu-box", "slots": 2, "speed": 2.0}]).add()
    panel.refresh()
    panel.rows[0].use.value = True
    assert panel.settings() == {"hosts": [{"name": "gpu-box", "slots": 2, "speed": 2.0}]}


def test_the_hosts_of_a_run_are_shown_as_chosen(panel: panels.HostsPanel):
    panel.add_host("localhost/a")
    panel.show_run(any_config(workers={"count": 2, "hosts": ["far:2"]}))
    assert [one.name for one in panel.chosen] == ["far"]
    assert [one.name for one in known_hosts()] == ["localhost/a"], "of a run alone: not kept"
    panel.show_run(any_config(workers={"count": 2, "spark": {"master": "local[2]"}}))
    assert panel.settings() == {}, "tasks of Spark are no hosts of the user's"
    panel.show_run(any_config(workers={"count": 2, "hosts": ["far:2"]}))
    panel.lock(True)
    assert all(one.use.disabled and one.forget.disabled for one in panel.rows)
    panel.remove("far")
    assert panel.settings() == {}


def test_a_check_says_what_is_wrong_beside_each_host(
    panel: panels.HostsPanel, monkeypatch: pytest.MonkeyPatch
):
    here = talk.Here(
        pid=1,
        versions={},
        cores=4,
        memory_bytes=8 * 10**9,
        free_bytes=10**9,
        gpus=[],
        native=True,
        disk_bytes=0,
        clock=0.0,
    )
    one, two = HostSpec.parse("one"), HostSpec.parse("two")
    checked = Checked(
        (Found(one, here, "eth0", (0.5, 0.001)), Found(two, problem="two: <has> no route to one")),
        (Pair("one", "two", 0.001, 1e8), Pair("two", "one", problem="no answer")),
    )
    monkeypatch.setattr(lk.Cluster, "check", lambda *_: checked)
    panel.add_host("one,two")
    panel.check.click()
    panel._looking.settled(30)
    assert "refused" in panel.rows[1].state.value
    assert "&lt;has&gt; no route to one" in panel.rows[1].state.value
    assert "ready" in panel.rows[0].state.value
    assert panel.heard.text == "check done: 1 can't be used"
    for text in ("+0.500 ± 0.001 s", "eth0", "800 Mbit/s", "1.0 ms"):
        assert text in panel.tables.value
    assert not panel.check.disabled


def training() -> RunView:
    view = RunView()
    workers = [
        {"worker": k, "pid": k, "state": "training", "rank": k, "memory_bytes": None, "host": host}
        for k, host in enumerate(("one", "one", "two"))
    ]
    rows = [
        {"host": "one", "slots": 2, "state": "ready", "doing": None},
        {"host": "two", "slots": 1, "state": "ready", "doing": None},
        {"host": "three", "slots": 1, "state": "lost", "doing": "nothing heard for 6 s"},
    ]
    events: list[dict[str, Any]] = [
        {"kind": "hosts", "hosts": rows},
        {"kind": "workers", "wanted": 3, "workers": workers},
        {"kind": "generation", "generation": 0, "world_size": 3, "ranks": [0, 1, 2], "cut": [30, 30, 40], "step": 0},
        {
            "kind": "steps", "first": 0, "last": 10, "world_size": 3, "loss": [1.0] * 10, "metrics": {}, "seconds": 2.0,
            "samples": [300, 300, 400], "busy": [1.0, 1.0, 1.0],
        },
    ]  # fmt: skip
    for number, event in enumerate(events):
        view.feed({"time": 1.0 + number, **event})
    return view


def test_what_each_host_contributes(panel: panels.HostsPanel):
    one, two, three = host_lines.shares(training())
    assert (one.workers, one.samples, one.share, one.rate) == (2, 60, 0.6, pytest.approx(300))
    assert (two.workers, two.rate) == (1, pytest.approx(200))
    assert host_lines.contribution(one) == "2 workers · 60% of each batch · 300 samples/s (measured)"
    assert host_lines.contribution(three) == "nothing heard for 6 s"
    assert "60 (60%)" in host_lines.by_host(training())
    panel.add_host("two,three")
    panel.observe(training())
    assert "40% of each batch" in panel.rows[0].state.value
    assert "lk-chip-lost" in panel.rows[1].state.value
    panel.observe(None)
    assert panel.rows[0].state.value == "not checked yet"


def test_a_run_on_this_machine_has_no_table_of_hosts():
    assert host_lines.by_host(RunView()) == ""


def test_the_workbench_trains_on_the_chosen_hosts(monkeypatch: pytest.MonkeyPatch):
    bench = lk.Workbench(warm=False, data=lk.data.sample("digits"))
    before = bench.workers.value, bench.workers.max
    bench.hosts.add_host("localhost/a:1,localhost/b:2")
    assert bench.settings()["hosts"] == ["localhost/a:1", "localhost/b:2"]
    assert bench.workers.max == 3
    assert "localhost/a (1), localhost/b (2): 3 slots" in bench.sharding.places.value
    assert "max_workers" not in bench.settings()
    assert bench.workers.value == 3, "one worker a slot at first"
    bench.hosts.rows[1].use.value = False
    assert bench.workers.value == 1
    bench.hosts.rows[0].use.value = False
    assert "hosts" not in bench.settings()
    assert (bench.workers.value, bench.workers.max) == before
    bench.close()
