"""Public names that are imported when asked for: each is there, stands where its stub says, and costs nothing before."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lepton_kit.lazy import lazily

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("lepton_kit", "lepton_kit.compression", "lepton_kit.deploy")


def stub(package):
    """Name -> the module that the stub imports it from, and the names of its ``__all__``."""
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.pyi").read_text(encoding="utf-8"))
    homes = {
        alias.asname: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    named = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    return homes, ast.literal_eval(named)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_typed_for_editors(package):
    module = importlib.import_module(package)
    homes, named = stub(package)
    assert set(module.__all__) == set(homes) == set(named) == set(dir(module)) - {"__version__"}
    for name, home in homes.items():
        found = getattr(module, name)
        if home == package:  # a module of the package
            assert found is importlib.import_module(f"{package}.{name}")
        else:
            assert found is getattr(importlib.import_module(home), name)


def test_the_names_of_models_that_load_keras_are_there():
    from lepton_kit import models

    assert all(getattr(models, name) is not None for name in models.__all__)
    with pytest.raises(AttributeError, match=r"module 'lepton_kit\.models' has no attribute 'nothing'"):
        models.nothing  # noqa: B018  # the look at it is the test


def test_an_unknown_name_is_an_attribute_error_that_names_the_package():
    get, names = lazily("json", {"JSONDecoder": "decoder"}, ["encoder"])
    assert names() == ["JSONDecoder", "encoder"]
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'loads'"):
        get("loads")


@pytest.mark.parametrize("package", [*PACKAGES, "lepton_kit.data", "lepton_kit.models"])
def test_to_import_a_package_or_list_its_names_loads_no_tensorflow(package):
    code = f"import sys, json, {package} as one; dir(one); print(json.dumps([m for m in ('tensorflow', 'keras') if m in sys.modules]))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(answer.stdout) == []
