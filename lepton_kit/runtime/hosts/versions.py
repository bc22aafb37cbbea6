"""What decides the figures that a host computes: versions of the libraries, and this very code."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

LIBRARIES = ("tensorflow", "keras", "horovod", "numpy")


@cache
def versions() -> dict[str, str]:
    """Name -> version of what must be equal on all hosts of a run, without importing any of it."""
    found = {"python": ".".join(map(str, sys.version_info[:2])), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return {**found, "lepton_kit": code()}


def code() -> str:
    """The beginning of a hash over all modules of this package."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def differences(there: Mapping[str, str], via: str = "ssh") -> list[str]:
    """What is other on a host that is reached this way, in words, with what mends it.

    >>> differences({**versions(), "keras": "2.0"})[0].startswith("keras 2.0 there, ")
    True
    """
    here = versions()
    found = [
        f"{name} {there.get(name, 'missing')} there, {here[name]} here"
        for name in here
        if there.get(name) != here[name]
    ]
    if found:
        command = "lepton spark-archive" if via == "spark" else "lepton hosts install"
        found[-1] += f" (`{command}` puts there what is here)"
    return found
