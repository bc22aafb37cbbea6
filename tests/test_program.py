"""A module of the package as a program: of the current folder only what no library has, and the same package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import lepton_kit
from lepton_kit.processes.isolated import fresh_call
from lepton_kit.processes.program import command


def test_a_program_is_of_the_same_package_and_searches_nothing_of_its_folder(tmp_path: Path):
    (tmp_path / "lepton_kit.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "json.py").write_text("raise SystemExit(3)\n")
    answer = subprocess.run(
        command("lepton_kit.processes.isolated", "inspect:getsourcefile", '{"object": 7}'),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert Path(lepton_kit.__file__).parents[1].as_posix() in json.loads(answer.stdout)["trace"]


def test_a_call_finds_the_users_own_module_in_the_current_folder(tmp_path: Path, monkeypatch):
    (tmp_path / "lepton_test_own.py").write_text("def word():\n    return 'mine'\n")
    (tmp_path / "json.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert fresh_call("lepton_test_own:word") == "mine"


BEGINNING = """
import os, signal, sys, time
from lepton_kit.processes.ends import Heard
from lepton_kit.processes.program import begin
if sys.argv[1] == "heard":
    Heard()
ended = 0
for _ in range(8):
    process = begin("lepton_kit.errors")  # a program that ends by itself, with 0
    os.kill(process.pid, signal.SIGTERM)
    ended += process.wait() != 0
sys.exit(ended)
"""


@pytest.mark.processes
@pytest.mark.parametrize(("who", "ended"), [("heard", 0), ("deaf to none", 8)])
def test_a_signal_that_a_job_hears_ends_nothing_that_it_has_just_begun(who: str, ended: int):
    assert subprocess.run([sys.executable, "-c", BEGINNING, who], timeout=300).returncode == ended
