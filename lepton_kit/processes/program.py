"""Runs a module of this very package as a program, and nothing from the folder in which it is started.

``python -P program.py lepton_kit.some.module arguments``: with -P neither that folder nor this one is searched for
modules, so no file there stands in for one of a library. The package itself is taken from where this file lies, so
that a process has the version of the process that started it.
"""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of lepton_kit as a program; it ignores the ends of a job that this process hears."""
    from lepton_kit.processes.ends import (
        deaf,
    )  # not above: as a program, this file has yet to say what lepton_kit is

    return deaf([sys.executable, "-P", __file__, module, *arguments])


def begin(module: str, *arguments: str, **how: Any) -> subprocess.Popen[Any]:
    """Begin such a program, ``how`` is as `subprocess.Popen` takes it; no end of a job can meet it before it ignores it."""
    from lepton_kit.processes.ends import kept_from_children  # the same

    with kept_from_children():
        return subprocess.Popen(command(module, *arguments), **how)


def _bind(package: Path) -> None:
    """Have `import lepton_kit` mean this folder."""
    spec = importlib.util.spec_from_file_location(
        package.name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{package}: is no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[package.name] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    _bind(Path(__file__).resolve().parents[1])
    from lepton_kit.processes.ends import let_through

    let_through()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
