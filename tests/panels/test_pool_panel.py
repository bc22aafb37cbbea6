"""The pool panel says who has what and whose turn it is, in a table, a bar, and words; it stops looking when nobody shares."""

from __future__ import annotations

from pathlib import Path

import pytest

import lepton_kit as lk
from lepton_kit.client.pool import Pool
from lepton_kit.errors import ConfigError
from lepton_kit.panels import PoolPanel, still
from lepton_kit.panels.pool import listing, shares
from lepton_kit.runtime.pool.folder import PoolFolder
from lepton_kit.runtime.pool.members import Entry, Membership, this_machine
from lepton_kit.runtime.pool.share import user_name

ME = user_name()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PoolFolder:
    monkeypatch.setenv("LEPTON_POOL", str(tmp_path / "pool"))
    return PoolFolder(tmp_path / "pool")


@pytest.fixture
def runs(folder: PoolFolder):
    """One that trains and two that wait, the last one of another user."""
    common = {"machine": this_machine(), "most": 2, "cores": 2}
    told = [
        Entry("a-1", ME, 1.0, held=2, state="running", left=12000.0, speeds={1: 60.0, 2: 100.0}, **common),
        Entry("b-1", ME, 2.0, least=2, **common),
        Entry("c-1", "<eve>", 3.0, least=2, **common),
    ]
    members = []
    for one in told:
        members.append(Membership(folder, one.run))
        members[-1].tell(one)
    yield told
    for member in members:
        member.leave()


def test_the_table_has_who_has_what_and_why(runs):
    found = lk.pool()
    assert found.told() == "1 run with 2 workers on 2 cores, 2 in line"
    table = found.table()
    assert list(table.index) == ["a-1", "b-1", "c-1"]
    assert list(table["workers"]) == [2, 0, 0]
    assert list(table["why"]) == [
        "has all that it may use",
        "you are next, about 2 min",
        "1 before you, about 4 min",
    ]
    assert table.loc["a-1", "seconds_left"] == 120.0
    assert "a-1" in str(found)
    assert "<table" in found._repr_html_()
    assert repr(found) == f"<Pool: {found.told()}>"


def test_nobody_and_off_are_told(folder: PoolFolder, monkeypatch: pytest.MonkeyPatch):
    assert lk.pool().told() == "no run shares this machine now"
    monkeypatch.setenv("LEPTON_POOL", str(folder.path / "nowhere"))
    assert lk.pool().table().empty
    monkeypatch.setenv("LEPTON_POOL", "off")
    assert str(lk.pool()) == "runs of this machine don't share it: LEPTON_POOL is off"
    assert "off" in lk.pool()._repr_html_()
    (folder.path / "file").touch()
    monkeypatch.setenv("LEPTON_POOL", str(folder.path / "file"))
    with pytest.raises(ConfigError, match=r"LEPTON_POOL: .* a folder"):
        lk.pool()


def test_the_panel_shows_it_with_the_turns_of_this_user(runs):
    panel = PoolPanel()
    try:
        assert repr(panel) == "<PoolPanel: 1 run with 2 workers on 2 cores, 2 in line>"
        assert "b-1: you are next, about 2 min" in panel.mine.value
        assert "c-1" not in panel.mine.value
        assert 'aria-label="cores: a-1: 2 workers"' in panel.shares.value
        assert "&lt;eve&gt;" in panel.listing.value
        assert "<b>a-1</b>" in panel.listing.value
        assert panel.heard.text == "1 run with 2 workers on 2 cores, 2 in line. b-1: you are next"
        words = " ".join(still.words_of(panel.view))
        assert "Your turn" in words
        assert "a-1 · you · running · 2 · 100 · 2 min 0 s" in words
    finally:
        panel.close()
    assert not panel._pump.running


def test_a_panel_without_runs_does_not_go_on_looking(folder: PoolFolder):
    panel = PoolPanel()
    assert "no run shares this machine now" in panel.line.value
    assert panel.listing.value == panel.shares.value == panel.mine.value == ""
    assert not panel._pump.running
    panel.close()


def test_what_goes_wrong_is_told_in_the_panel(folder: PoolFolder, monkeypatch: pytest.MonkeyPatch):
    panel = PoolPanel()

    def broken() -> Pool:
        raise OSError("no such device")

    monkeypatch.setattr(lk, "pool", broken)
    panel.look.click()
    assert panel.complaint == "OSError: no such device"
    panel.close()


def test_free_cores_and_long_lists():
    row = {"run": "r", "hosts": "", "user": "u", "state": "running", "workers": 1, "next": 2, "samples_per_second": None,
           "seconds_left": None, "why": "its share"}  # fmt: skip
    assert "3 of 4 cores free" in shares([row], 4)
    assert "width:25%" in shares([row], 4)
    assert "1 → 2" in listing([row], "me")
    assert "and 5 more" in listing([row] * 45, "me")


def test_runs_on_hosts_stand_beside_those_of_this_machine(folder: PoolFolder, runs):
    made = Membership(folder, "far-1")
    made.tell(Entry("far-1", ME, 4.0, machine="one:2, two:2", held=3, most=4, cores=4, state="running"))
    panel = PoolPanel()
    try:
        assert panel.pool.slots == {"one:2, two:2": 4}
        assert panel.pool.told().endswith("; 1 run with 3 workers on 4 slots of one:2, two:2, 0 in line")
        assert 'aria-label="slots of one:2, two:2: far-1: 3 workers; 1 free"' in panel.shares.value
        assert "1 of 4 slots of one:2, two:2 free" in panel.shares.value
        assert "this machine" in panel.listing.value
        assert "all 2 cores of this machine are used" in panel.shares.value
        assert "1 before it, about" in panel.listing.value, "of another's run"
        assert list(panel.pool.table()["hosts"]) == ["", "", "", "one:2, two:2"]
    finally:
        panel.close()
        made.leave()
