"""Runs whose driver is real and whose workers are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lepton_kit.rundir import RunPaths
from lepton_kit.runtime import roster
from lepton_kit.runtime.group import WorkerGroup
from tests.configs import MODEL, any_config
from tests.runtime.fakes import FakeExecutor
from tests.runtime.staged import Stage


@pytest.fixture
def stages() -> Iterator[list[Stage]]:
    made: list[Stage] = []
    yield made
    for stage in made:
        stage.close()


@pytest.fixture
def begin(tmp_path: Path, stages: list[Stage], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(roster, "QUIET_SECONDS", 600.0)  # a busy machine may take seconds from turn to turn

    def made(executor: FakeExecutor, group: WorkerGroup | None = None, **workers: Any) -> Stage:
        paths = RunPaths(tmp_path / "run")
        paths.create()
        model = {**MODEL, "notes": ["batch statistics differ", "random layers differ"]}
        config = any_config(model=model, workers=workers, training={"global_batch": 80})
        paths.config.write_text(config.to_yaml())
        stages.append(Stage(paths, executor, group))
        return stages[-1]

    return made
