"""A module of the package as a program: of the current folder only what no library has, and the same package."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

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
