"""Completion of the command: what is offered after which words, and the scripts in real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lepton_kit import cli
from lepton_kit.cli import completion
from lepton_kit.rundir import Status
from tests.client.test_table import make

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path, "wide-20260101-000000-0001")
    make(tmp_path, "narrow-20260102-000000-0002").tags = ["baseline"]
    make(tmp_path, "live-20260103-000000-0003", end=None)
    make(tmp_path, "gone-20260104-000000-0004", end=Status.FAILED).delete()
    return tmp_path


def offered(folder: Path, *words: str) -> list[str]:
    return [word for word, _ in completion.candidates(cli._parser(), ["--runs-dir", str(folder), *words])]


def test_verbs_and_their_options_are_offered(folder: Path):
    assert {"run", "runs", "watch", "compare", "completion"} <= set(offered(folder, ""))
    assert offered(folder, "comp") == ["compare", "compress", "completion"]
    assert offered(folder, "zzz") == []
    assert offered(folder, "watch", "--") == ["--help", "--json", "--once", "--runs-dir"]
    assert offered(folder, "rm", "wide-20260101-000000-0001", "--f") == ["--forever"]
    assert completion.answer(cli._parser(), []) == 0


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["watch", ""], ["live", "narrow", "wide"]),
        (["watch", "w"], ["wide"]),
        (["watch", "--json", "n"], ["narrow"]),
        (["stop", ""], ["live"]),
        (["restore", ""], ["gone"]),
        (["compare", "wide-20260101-000000-0001", ""], ["live", "narrow"]),
        (["watch", "wide-20260101-000000-0001", ""], []),
    ],
)
def test_runs_are_offered_where_they_fit(folder: Path, words: list[str], runs: list[str]):
    assert [one.split("-")[0] for one in offered(folder, *words)] == runs


def test_the_folder_of_runs_may_be_said_after_the_verb(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    parser = cli._parser()
    for words in (["--runs-dir", str(folder)], [f"--runs-dir={folder}"]):
        assert [one for one, _ in completion.candidates(parser, ["stop", *words, "li"])] == [
            "live-20260103-000000-0003"
        ]
        assert cli.main(["runs", *words]) == 0
        assert "live-20260103" in capsys.readouterr().out
    assert (
        cli.main(["--runs-dir", str(tmp_path / "none"), "runs", "--runs-dir", str(folder)]) == 0
    )  # the later one counts
    assert "live-20260103" in capsys.readouterr().out


def test_choices_tags_columns_and_files_are_offered(folder: Path):
    assert offered(folder, "cache", "") == ["list", "clear"]
    assert offered(folder, "completion", "f") == ["fish"]
    assert offered(folder, "predict", "wide", "x.csv", "--model", "") == ["last", "best"]
    assert offered(folder, "tag", "wide", "b") == ["baseline"]
    assert offered(folder, "tag", "wide", "--remove", "") == ["baseline"]
    assert offered(folder, "runs", "--sort", "lo") == ["loss"]
    for words in (["run", ""], ["describe", "da"], ["predict", "wide", ""], ["runs", "--csv", ""]):
        assert offered(folder, *words) == [completion.FILES]
    assert [word for word, _ in completion.candidates(cli._parser(), ["--runs-dir", ""])] == [
        completion.FILES
    ]
    assert offered(folder, "scale", "live", "") == []


def test_the_folder_may_be_given_with_an_equals_sign(folder: Path):
    found = completion.candidates(cli._parser(), [f"--runs-dir={folder}", "watch", "wi"])
    assert [(word[:4], text) for word, text in found] == [("wide", "finished")]


def test_a_run_that_cannot_be_read_is_offered_all_the_same(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "wide-20260101-000000-0001" / "status.json").write_text("{")
    assert cli.main(["__complete", "--runs-dir", str(folder), "watch", "w"]) == 0
    assert capsys.readouterr().out == "wide-20260101-000000-0001\tunknown\n"


@pytest.fixture
def command(tmp_path: Path) -> dict[str, str]:
    """An environment in which `lepton` is this checkout's command."""
    place = tmp_path / "bin"
    place.mkdir()
    script = place / "lepton"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lepton_kit.cli "$@"\n')
    script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{place}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "HOME": str(tmp_path),
    }


BASH = """eval "$(lepton completion bash)"
COMP_WORDS=(lepton --runs-dir "$1" stop ""); COMP_CWORD=4
_lepton; echo "${COMPREPLY[@]}"
COMP_WORDS=(lepton run ""); COMP_CWORD=2
compopt() { printf 'files: %s %s\n' "$1" "$2"; }
_lepton
"""


def test_bash_completes(folder: Path, command: dict[str, str]):
    done = subprocess.run(
        ["bash", "-c", BASH, "bash", str(folder)], env=command, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["live-20260103-000000-0003", "files: -o default"], done.stderr


ZSH = """autoload -Uz compinit && compinit -u
eval "$(lepton completion zsh)"
[[ $_comps[lepton] == _lepton ]] && echo registered
_describe() { print -l -- "${(@P)argv[-1]}"; }
words=(lepton --runs-dir "$1" stop ""); CURRENT=5
_lepton
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed here")
def test_zsh_completes(folder: Path, command: dict[str, str]):
    done = subprocess.run(
        ["zsh", "-fc", ZSH, "zsh", str(folder)], env=command, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["registered", "live-20260103-000000-0003:running"], done.stderr


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed here")
def test_fish_completes(folder: Path, command: dict[str, str]):
    said = f'lepton completion fish | source; complete -C "lepton --runs-dir {folder} stop "'
    done = subprocess.run(
        ["fish", "-N", "-c", said], env=command, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == ["live-20260103-000000-0003\trunning"], done.stderr
