"""What the shell's verbs do where their output can't be written as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.client.test_cli import call, make


def shell(
    folder: Path, *arguments: str, stdout: int | IO[bytes] = subprocess.PIPE, **more: str
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "lepton_kit.cli", "--runs-dir", str(folder), *arguments]
    settings = {"PYTHONUTF8": "0", **more}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, **settings}, check=False
    )


@pytest.mark.processes
def test_a_sign_that_the_output_has_not_is_written_in_ascii(tmp_path: Path):
    make(tmp_path)
    assert call(tmp_path, "rename", "demo-1", "größe ≈") == 0
    plain = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
    }  # Python is then lenient with bytes of names, not with signs
    for settings in ({"PYTHONIOENCODING": "ascii"}, plain):
        done = shell(tmp_path, "runs", **settings)
        assert done.returncode == 0, done.stderr
        assert rb"gr\xf6\xdfe" in done.stdout


@pytest.mark.processes
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_on_a_full_disk_is_one_line(tmp_path: Path):
    make(tmp_path)
    with open("/dev/full", "wb") as full:
        done = shell(tmp_path, "runs", stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["lepton: No space left on device"]
