"""Where a module comes from: installed, so that every process started from here can import it, or the user's own."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from typing import Any

# Modules whose classes a .keras file carries faithfully, or that are no part of a model's meaning.
STOCK = {"keras", "tensorflow", "lepton_kit", "numpy", "ml_dtypes", "wrapt", "cloudpickle"}


def users_module(module: Any) -> bool:
    """Whether a module is the user's own: other processes may not be able to import it."""
    name, file = getattr(module, "__name__", None), getattr(module, "__file__", None)
    if not isinstance(name, str) or not isinstance(file, str) or name == "__main__":
        return False
    if name.split(".")[0] in STOCK or sys.modules.get(name) is not module:
        return False
    return not installed(file)


def installed(file: str) -> bool:
    """Whether a module's file belongs to Python or to what was installed for it.

    That is the standard library, any folder site-packages or dist-packages, and folders of PYTHONPATH into which pip
    has installed (``--target``): each process started from here searches them.
    """
    if "site-packages" in file or "dist-packages" in file:
        return True
    return file.startswith((*_libraries(), *_targets(os.environ.get("PYTHONPATH", ""))))


@functools.cache
def _libraries() -> tuple[str, ...]:
    return sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"]


@functools.cache
def _targets(searched: str) -> tuple[str, ...]:
    found = []
    for folder in filter(os.path.isabs, searched.split(os.pathsep)):
        if os.path.isdir(folder) and any(name.endswith(".dist-info") for name in os.listdir(folder)):
            found.append(os.path.join(folder, ""))
    return tuple(found)
