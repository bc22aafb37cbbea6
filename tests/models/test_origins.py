"""What is installed and what is the user's own, also where packages lie in a folder of PYTHONPATH."""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path

import cloudpickle
import pandas
import pytest

from lepton_kit.models import objects
from lepton_kit.models.origins import users_module
from tests.models import object_facts


def test_a_module_of_the_users_own_is_told_from_installed_ones():
    assert users_module(object_facts)
    assert not users_module(pandas)
    assert not users_module(json)
    assert not users_module(sys.modules["lepton_kit"])


@pytest.mark.parametrize(("by_pip", "searched"), [(True, True), (True, False), (False, True)])
def test_what_pip_put_into_a_folder_that_processes_search_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_pip: bool, searched: bool
):
    """As `pip install --target libs` with PYTHONPATH=libs; a folder that only this process searches is not enough."""
    name = f"borrowed_{by_pip}_{searched}"
    (tmp_path / f"{name}.py").write_text("value = 1\n")
    if by_pip:
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
    if searched:
        monkeypatch.setenv("PYTHONPATH", f"/nowhere:{tmp_path}")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(name)
    assert users_module(module) is not (by_pip and searched)


def test_a_module_that_goes_by_several_names_travels_once(monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("twice_named")
    module.__file__ = "/nowhere/twice_named.py"
    monkeypatch.setitem(sys.modules, "twice_named", module)
    monkeypatch.setitem(sys.modules, "old_name", module)
    before = cloudpickle.list_registry_pickle_by_value()
    with objects.by_value():
        assert "twice_named" in cloudpickle.list_registry_pickle_by_value()
    assert cloudpickle.list_registry_pickle_by_value() == before
