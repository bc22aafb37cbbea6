"""Names of a package that are imported when they are asked for, so that to import the package costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazily(
    package: str, homes: Mapping[str, str], modules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562).

    ``homes``: public name -> the module that has it, counted from the package. ``modules`` are public modules of it.
    Editors and type checkers read the same names in the package's ``__init__.pyi``; a test compares the two.

    >>> get, _ = lazily("json", {"JSONDecoder": "decoder"}, ["encoder"])
    >>> get("JSONDecoder").__name__, get("encoder").__name__
    ('JSONDecoder', 'json.encoder')
    """

    def get(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted([*homes, *modules])

    return get, names
