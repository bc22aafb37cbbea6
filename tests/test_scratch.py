"""Temporary folders of killed processes go; those that are held stay."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lepton_kit.processes.scratch import Scratch


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
