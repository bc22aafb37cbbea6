"""The guard in conftest.py sees a detached process that a test leaves behind, ends it, and fails the session."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
TEST = """
import pathlib, subprocess, sys
def test_it():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "lepton_kit"], start_new_session=True)
    pathlib.Path("pid").write_text(str(child.pid))
    if {ends}:
        child.kill()
        child.wait()
"""


@pytest.mark.processes
@pytest.mark.parametrize(("ends", "code"), [(True, 0), (False, 1)])
def test_a_process_left_behind_fails_the_session(tmp_path: Path, ends: bool, code: int):
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    grace = tmp_path / "conftest.py"
    grace.write_text(grace.read_text().replace("GRACE_SECONDS = 5.0", "GRACE_SECONDS = 0.5"))
    (tmp_path / "test_it.py").write_text(TEST.format(ends=ends))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "test_it.py",
    ]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == code, answer.stdout
    assert ("left behind" in answer.stdout) == (not ends)
    assert not runs(int((tmp_path / "pid").read_text()))


def runs(pid: int) -> bool:
    """Whether a process is there and alive; who adopts an orphan may be slow to clear its remains away."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
