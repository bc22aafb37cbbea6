"""A run's folder appears complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lepton_kit.config import RunConfig
from lepton_kit.processes.scratch import keep
from lepton_kit.rundir import list_runs, lock
from lepton_kit.runtime import folder as module
from tests.configs import any_config


def test_it_is_filled_under_a_hidden_name_then_renamed_then_started(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    started = []
    monkeypatch.setattr(module, "start_driver", lambda paths: started.append(paths.config.is_file()))

    def fill(folder: Path) -> RunConfig:
        assert folder.name.startswith(".")
        assert list_runs(runs_dir) == []
        (folder / "model").mkdir()
        return any_config()

    paths = module.begin("demo", runs_dir, fill)
    assert (started, list(runs_dir.iterdir())) == ([True], [paths.root])
    assert paths.id.startswith("demo-")
    assert RunConfig.load(paths.config) == any_config()
    assert (paths.root / "model").is_dir()


def test_a_hidden_folder_is_no_run(runs_dir: Path):
    (runs_dir / ".demo").mkdir()
    (runs_dir / ".demo" / "config.yaml").write_text(any_config().to_yaml())
    assert list_runs(runs_dir) == []


def test_what_a_killed_launch_has_left_goes_with_the_next_one_and_nothing_else(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "start_driver", lambda _: None)
    left, fresh, held = (runs_dir / f".demo-20260101-120000-000{digit}" for digit in range(3))
    others = [runs_dir / name for name in (".trash", ".git", "demo-20260101-120000-0003")]
    for folder in (left, fresh, held, *others):
        (folder / "model").mkdir(parents=True)
        if folder != fresh:
            os.utime(folder, (1e9, 1e9))
    kept = keep(held)

    def fill(folder: Path) -> RunConfig:
        os.utime(folder, (1e9, 1e9))  # a long copy of data adds nothing to the folder itself
        other = module.begin("other", runs_dir, lambda _: any_config())
        assert folder.is_dir(), "a launch that lasts is left alone"
        assert other.root.is_dir()
        return any_config()

    module.begin("demo", runs_dir, fill)
    os.close(kept)
    assert [folder.is_dir() for folder in (left, fresh, held, *others)] == [False, *[True] * 5]


class Full(Exception):
    pass


@pytest.mark.parametrize("at", ["fill", "rename", "start"])
def test_a_failure_leaves_no_folder(runs_dir: Path, monkeypatch: pytest.MonkeyPatch, at: str):
    def fail(*_: object) -> None:
        raise Full

    monkeypatch.setattr(module, "start_driver", fail if at == "start" else lambda _: None)
    if at == "rename":
        monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(Full):
        module.begin("demo", runs_dir, fail if at == "fill" else lambda _: any_config())
    assert list(runs_dir.iterdir()) == []


def test_a_run_that_a_driver_has_taken_stays_whatever_interrupts_the_start(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    held = []

    def interrupted(paths: object) -> None:
        held.append(lock.take(paths))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "start_driver", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module.begin("demo", runs_dir, lambda _: any_config())
    assert len(list_runs(runs_dir)) == 1
    os.close(held[0])
