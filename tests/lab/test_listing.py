"""What the sidebar is told: which folders, which runs, for whom."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lepton_kit.errors import ConfigError
from lepton_kit.lab.listing import ENDED_SHOWN, Listing
from lepton_kit.rundir import lock
from tests.client.test_table import make


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LEPTON_RUNS_DIR", raising=False)


def test_runs_at_the_root_and_beside_the_notebook_are_listed(tmp_path: Path):
    make(tmp_path / "runs", "one")
    make(tmp_path / "notebooks" / "runs", "two")
    listing = Listing(tmp_path)
    assert [found["name"] for found in listing.read()] == ["runs"]
    found = listing.read("notebooks")
    assert [(one["name"], [run["id"] for run in one["runs"]]) for one in found] == [
        ("runs", ["one"]),
        ("notebooks/runs", ["two"]),
    ]
    assert json.dumps(found)


def test_the_folder_that_the_environment_names_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LEPTON_RUNS_DIR", str(tmp_path / "all"))
    make(tmp_path / "all", "one")
    make(tmp_path / "served" / "runs", "two")
    (tmp_path / "served").mkdir(exist_ok=True)
    found = Listing(tmp_path / "served").read()
    assert [(one["name"], one["named"]) for one in found] == [(str(tmp_path / "all"), True), ("runs", False)]


@pytest.mark.parametrize("beside", ["..", "a/../..", "/../.."])
def test_nothing_outside_the_server_is_listed(tmp_path: Path, beside: str):
    make(tmp_path / "runs", "secret")
    (tmp_path / "served").mkdir()
    with pytest.raises(ConfigError, match="beside: got"):
        Listing(tmp_path / "served").read(beside)


def test_runs_under_way_come_first_and_few_of_the_ended(tmp_path: Path):
    live = make(tmp_path / "runs", "live", end=None)
    for number in range(ENDED_SHOWN + 2):
        path = make(tmp_path / "runs", f"ended-{number}").paths.config
        os.utime(path, (2e9 + number, 2e9 + number))
    held = lock.take(live.paths)
    ((folder),) = Listing(tmp_path).read()
    ids = [run["id"] for run in folder["runs"]]
    assert ids == ["live", *(f"ended-{number}" for number in range(ENDED_SHOWN + 1, 1, -1))]
    assert folder["runs"][0] == {
        "id": "live", "name": "live", "status": "running", "step": 4, "total_steps": 20, "workers": 3, "live": True,
    }  # fmt: skip
    os.close(held)


def test_an_unreadable_run_is_listed_as_such(tmp_path: Path):
    make(tmp_path / "runs", "bad").paths.status.write_text("{")
    (tmp_path / "runs" / "bad" / "config.yaml").write_text("{")
    (folder,) = Listing(tmp_path).read()
    assert (folder["runs"][0]["status"], folder["runs"][0]["live"]) == ("unreadable", False)
