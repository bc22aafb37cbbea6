"""A driver, or the process that loads TensorFlow, that can't start: the run says why. And what workers must not load."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.errors import RunError
from lepton_kit.rundir import RunPaths, lock
from lepton_kit.runtime import command, start
from tests.configs import any_config
from tests.processes import eventually

PATIENCE = 120.0


def launch(runs_dir: Path, **options: Any) -> lk.Run:
    options = {"workers": 1, "global_batch": 500, "epochs": 1, **options}
    return lk.launch(lk.LeptonModel((8, 8, 1), 10, 4), lk.data.sample("digits"), runs_dir=runs_dir, **options)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a module in the place of a library, for the processes that are started."""
    folder = tmp_path / "broken"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))

    def put(name: str, code: str) -> None:
        (folder / f"{name}.py").write_text(code)

    lk.cool()
    return put


@pytest.mark.processes
@pytest.mark.parametrize(
    ("library", "code", "said"),
    [
        ("psutil", "raise ImportError('its library is broken')", "could not start: ImportError: its library is broken"),
        ("psutil", "import os; os.abort()", "the driver could not start"),
        ("keras", "raise ImportError('its library is broken')", "(ImportError: its library is broken)"),
        pytest.param("keras", "import os; os.kill(os.getpid(), 11)", "can't be loaded: killed by signal 11 (SIGSEGV)", marks=pytest.mark.long),
        pytest.param("keras", "raise MemoryError", "can't be loaded: MemoryError", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_the_cause(
    runs_dir: Path, broken: Callable[[str, str], None], library: str, code: str, said: str
):
    broken(library, code)
    run = launch(runs_dir)
    eventually(lambda: not run.alive and run.status in ("failed", "interrupted"), "ended")
    assert said in str(run.cause)
    assert "driver died" not in str(run.cause)
    with pytest.raises(RunError, match=r"could not start|can't be loaded"):
        run.wait()
    assert run.view().generations == []


def test_a_driver_without_memory_for_its_processes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = RunPaths(tmp_path / "run")
    paths.create()
    paths.config.write_text(any_config().to_yaml())
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)

    def full(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(command, "LocalExecutor", full)
    held = lock.take(paths)
    assert command.main([str(paths.root), "--lock", str(held)]) == 1
    assert "Cannot allocate memory" in str(lk.Run(paths).cause)
    assert lk.Run(paths).view().status == "failed"
    os.close(held)


OWN = """
import os
import keras

CLIENT = os.getpid()


class Probe(keras.layers.Layer):
    def call(self, x):
        if os.getpid() != CLIENT:  # so in a worker
            import lepton_test_own

            with open(os.environ["LEPTON_TEST_SEEN"], "w") as file:
                file.write(lepton_test_own.WORD)
        return x


model = keras.Sequential([keras.Input((4,)), Probe(), keras.layers.Dense(3, activation="softmax")])
"""
LIBRARIES = (
    "yaml",
    "json",
    "numpy",
    "psutil",
    "pydantic",
    "tensorflow",
    "keras",
    "horovod",
    "socket",
    "lepton_kit",
)


@pytest.mark.processes
def test_nothing_of_the_current_folder_is_imported_but_what_the_user_wants(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And workers leave nothing behind in the folder for temporary files."""
    import numpy as np

    lk.cool()
    place, temporary, seen = tmp_path / "place", tmp_path / "temporary", tmp_path / "seen"
    place.mkdir()
    temporary.mkdir()
    for name in LIBRARIES:
        (place / f"{name}.py").write_text(
            f"open({str(tmp_path / f'loaded-{name}')!r}, 'w')\nraise SystemExit(3)\n"
        )
    (place / "lepton_test_own.py").write_text("WORD = 'mine'\n")
    monkeypatch.chdir(place)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("LEPTON_TEST_SEEN", str(seen))
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(OWN, scope)
    data = (np.zeros((8, 4), "float32"), np.arange(8) % 3)
    for turn in ("a program", "a fork of the nursery"):
        run = lk.launch(scope["model"], data, workers=1, global_batch=4, epochs=1, runs_dir=runs_dir)
        run.wait(PATIENCE)
        assert run.status == "finished", turn
        assert seen.read_text() == "mine"
        seen.unlink()
        eventually(start._kept.ready_nursery, "a nursery")
    assert list(tmp_path.glob("loaded-*")) == []
    assert list(temporary.iterdir()) == []
    lk.cool()


@pytest.mark.processes
@pytest.mark.long
def test_a_run_from_warm_workers_has_the_drivers_log_with_what_it_said_before(runs_dir: Path):
    lk.warm(lk.LeptonModel((8, 8, 1), 10, 4), lk.data.sample("digits"), workers=1, global_batch=500)
    assert start._kept.standby is not None
    folder = start._kept.standby.folder
    with open(folder / "driver.log", "a") as log:
        log.write("said while it was warm\n")
    run = launch(runs_dir).wait(PATIENCE)
    assert not folder.exists()
    assert "said while it was warm" in run.logs()
    assert run.paths.driver_log.stat().st_mode & 0o077 == 0
