"""What a driver writes before its first worker is there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lepton_kit.rundir import RunPaths, RunView
from lepton_kit.runtime.driver import Driver
from lepton_kit.runtime.wire import pair
from tests.configs import MODEL, any_config


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path / "run")
    made.create()
    model = {**MODEL, "notes": ["batch statistics differ", "random layers differ"]}
    made.config.write_text(any_config(model=model).to_yaml())
    return made


def start_and_leave(paths: RunPaths) -> Any:
    connection, other = pair()
    driver = Driver(paths, lambda: SimpleNamespace(zygote_connection=connection, members={}))  # type: ignore[arg-type, return-value]  # a stand-in for the standby
    driver._ring.close()
    driver._selector.close()
    other.close()
    connection.close()
    import os

    os.close(driver._lock)
    return driver


def test_notes_of_a_model_become_warnings_once(paths: RunPaths):
    for _ in ("a fresh run", "the same run, resumed"):
        start_and_leave(paths)
        view = RunView(paths.events)
        view.refresh()
        assert [warning["text"] for warning in view.warnings] == [
            "batch statistics differ",
            "random layers differ",
        ]
