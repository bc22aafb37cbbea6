"""The project, its lock and the conda environment name the same versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
TEST_LOCK = (ROOT / "requirements-test.lock").read_text(encoding="utf-8")


@pytest.mark.parametrize("which", ["default", "test"])
def test_the_lock_holds_versions_that_the_project_allows(script, which):
    lock = script("lock")
    entries = [*PROJECT["dependencies"]]
    for extra in (*lock.EXTRAS, *(lock.TEST_EXTRAS if which == "test" else ())):
        entries += PROJECT["optional-dependencies"][extra]
    pins = lock.pins(LOCK if which == "default" else TEST_LOCK)
    wanted = [Requirement(entry) for entry in entries]
    assert [
        str(entry) for entry in wanted if not entry.specifier.contains(pins[lock.normal(entry.name)])
    ] == []


def test_the_tests_lock_repeats_every_pin_of_the_other_and_adds_to_it(script):
    lock = script("lock")
    mine, more = lock.pins(LOCK), lock.pins(TEST_LOCK)
    assert mine.items() <= more.items()
    assert len(more) > len(mine)


@pytest.mark.parametrize("text", [LOCK, TEST_LOCK], ids=["default", "test"])
def test_the_lock_names_no_index_and_every_pin_has_hashes(text):
    assert "://" not in text
    assert "index" not in re.sub(r"^[\w.-]*index[\w.-]*==", "", text, flags=re.MULTILINE)
    pins = re.findall(r"^[A-Za-z0-9_.-]+==.*$", text, re.MULTILINE)
    assert len(pins) > 100
    assert all(pin.endswith("\\") for pin in pins)


def test_environment_yml_is_the_lock_for_conda(script):
    lock = script("lock")
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert text == lock.environment(LOCK, PROJECT)
    *conda, pip = yaml.safe_load(text)["dependencies"]
    assert f"python={lock.PYTHON}" in conda
    pins = lock.pins(LOCK)
    assert len(pip["pip"]) > 20
    assert all(pins[name] == version for name, version in (entry.split("==") for entry in pip["pip"]))


def test_every_dependency_says_why_it_is_there():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    entries = re.findall(r'^    "[a-zA-Z0-9_-]+[=<>][^"]*",(.*)$', text, re.MULTILINE)
    assert len(entries) == len(PROJECT["dependencies"]) + sum(
        map(len, PROJECT["optional-dependencies"].values())
    )
    assert all(re.match(r" +# \w", comment) for comment in entries)
