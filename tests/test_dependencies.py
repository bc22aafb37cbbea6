"""The check of what the project depends on: what it finds, and what it says where it could not ask."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def dependencies(script):
    return script("dependencies")


def test_the_project_passes_without_a_network(dependencies):
    assert dependencies.offline() == []


@pytest.mark.parametrize("entry", ["b>=2", "b==2", "b", "b @ https://host/b.whl \\", "-e ."])
def test_an_entry_without_one_version_and_a_hash_is_named(dependencies, entry):
    assert dependencies.loose(f"a==1 ; python_version < '3.12' \\\n    --hash=sha256:0\n{entry}\n") == [entry]


@pytest.mark.parametrize(
    ("about", "wrong"),
    [
        ({"License-Expression": "MIT AND (GPL-3.0-only OR Apache-2.0)"}, None),
        ({"License-Expression": "MIT AND GPL-3.0-only"}, "GPL-3.0-only"),
        ({"Classifier": ["License :: OSI Approved :: MIT License", "Topic :: Software"]}, None),
        ({"Classifier": ["License :: Other/Proprietary License"]}, "Other/Proprietary License"),
        ({"License": "3-Clause BSD License"}, None),
        ({"License": "Free for private use\nand more text"}, "Free for private use"),
        ({"file": "\nCopyright 2023\nApache License 2.0"}, None),
        ({"file": "Ask the author\nfirst"}, "Ask the author"),
        ({}, "says nothing of its licence"),
    ],
)
def test_a_licence_that_is_on_no_list_is_named_with_its_package(dependencies, monkeypatch, about, wrong):
    class About(dict[str, Any]):
        def get_all(self, name: str, default: Any) -> Any:
            return self.get(name, default)

    monkeypatch.setattr(dependencies.metadata, "metadata", lambda name: About(about))
    files = [SimpleNamespace(name="LICENSE.txt", read_text=lambda: about["file"])] if "file" in about else []
    monkeypatch.setattr(dependencies.metadata, "files", lambda name: files)
    found = dependencies.unwanted(["some-package"])
    assert [line.partition(";")[0] for line in found] == ([f"some-package: {wrong}"] if wrong else [])


def test_an_exception_is_one_package_with_one_licence(dependencies, monkeypatch):
    monkeypatch.setattr(dependencies, "licences", lambda name: ["LGPL-3.0-or-later"])
    assert dependencies.unwanted(["alkaid"]) == []
    assert len(dependencies.unwanted(["quantizers", "numpy"])) == 2


class Network:
    """uv with an index that answers so, and an advisory service."""

    def __init__(self, index: tuple[int, str] = (0, ""), told: list[dict[str, Any]] | None = None):
        self.index, self.told = index, told

    def __call__(self, command: list[str]) -> Any:
        if command[:2] == ["pip", "install"]:
            return SimpleNamespace(returncode=self.index[0], stderr=self.index[1])
        if self.told is None:
            return subprocess.CompletedProcess(command, 1, "", "error\nConnectionError: no route\n")
        Path(command[command.index("--output") + 1]).write_text(json.dumps({"dependencies": self.told}))
        return subprocess.CompletedProcess(command, 0, "", "No known vulnerabilities found")


SOUND = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "GHSA-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("network", "code", "said"),
    [
        (Network(told=[SOUND]), 0, "every entry of both locks is one version with hashes"),
        (Network(told=[SOUND, WEAK]), 1, "requirements-test.lock: b 2: GHSA-1, mended in 2.1"),
        (
            Network(told=[SOUND, SKIPPED]),
            3,
            "not known: the advisory service knew nothing of 1 of 2 packages; of c: not found",
        ),
        (Network(told=None), 3, "not known: the advisory service can't be asked: ConnectionError: no route"),
        (
            Network((1, "error: no index"), [SOUND]),
            3,
            "not known: the package index can't be asked: error: no index",
        ),
        (
            Network((0, 'Resolved\nwarning: `a==1` is yanked (reason: "broken")\n'), [SOUND]),
            1,
            'requirements-test.lock: `a==1` is yanked (reason: "broken")',
        ),
        (Network((1, "error: no index"), [WEAK]), 1, "not known: the package index can't be asked"),
    ],
)
def test_what_was_asked_and_what_could_not_be_is_told_apart(dependencies, capsys, network, code, said):
    assert dependencies.main(["--online"], network) == code
    assert said in capsys.readouterr().out


def test_without_being_asked_it_needs_no_network(dependencies):
    assert dependencies.main([], lambda command: pytest.fail(f"asked {command}")) == 0
