"""Loads the project's scripts and benchmarks, which are no package, for tests that use or check them."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).resolve().parent.parent


def load_script(name: str, folder: str = "scripts") -> ModuleType:
    """One of the project's scripts or benchmarks, by name, as a fresh module."""
    specification = importlib.util.spec_from_file_location(f"script_{name}", PROJECT / folder / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module
