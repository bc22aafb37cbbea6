"""Temporary folders of killed processes go; those that are held stay."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

import lepton_kit as lk
from lepton_kit.processes.scratch import Scratch
from tests.processes import eventually, processes_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path: Path):
    code = (
        "import os; from lepton_kit.processes.scratch import Scratch; "
        "(Scratch('lepton-warm-').path / 'file').touch(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "file").exists()
    (tmp_path / "lepton-other").mkdir()
    mine, other = Scratch("lepton-warm-"), Scratch("lepton-warm-")
    assert not left.exists()
    assert mine.path.is_dir(), "one that is held stays"
    assert mine.path.name.startswith("lepton-warm-")
    mine.close()
    other.close()
    assert [path.name for path in tmp_path.iterdir()] == ["lepton-other"]


def test_what_passes_goes_as_soon_as_its_maker_is_killed(tmp_path: Path):
    code = (
        "import sys; from lepton_kit.processes.scratch import passing\n"
        "with passing('lepton-plan-') as folder:\n    print(folder, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        folder = Path(maker.stdout.readline().strip())
        assert folder.is_dir()
        assert folder.parent == tmp_path
        maker.kill()
    eventually(lambda: not folder.exists(), "the folder gone")


@pytest.mark.processes
def test_the_short_runs_of_a_killed_plan_end(tmp_path: Path):
    script = tmp_path / "plans.py"
    script.write_text(
        "import keras, lepton_kit as lk\n"
        "model = lk.LeptonModel((8, 8, 1), 10, hidden_size=8)\n"
        "lk.plan(model, lk.data.sample('digits'), seconds=60)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], cwd=tmp_path) as maker:
        (events,) = eventually(
            lambda: list(tmp_path.glob("lepton-plan-*/plan-*/events.jsonl")), "a short run"
        )
        run = lk.open_run(events.parent)
        pid = eventually(lambda: run.view().step > 0 and run.view().driver_pid, "steps")
        workers = processes_of(pid)
        assert workers
        maker.kill()
    eventually(lambda: not psutil.pid_exists(pid), "the driver gone")
    eventually(lambda: not any(one.is_running() for one in workers), "its workers too")
