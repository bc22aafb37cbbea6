"""lepton_kit: data-parallel training that lives in a notebook, watched and re-scaled while it runs."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "LeptonModel": "lepton_kit.models",
    "RunConfig": "lepton_kit.config",
    "Run": "lepton_kit.client.run",
    "open_run": "lepton_kit.client.run",
    "runs": "lepton_kit.client.run",
    "launch": "lepton_kit.client.launch",
    "launch_config": "lepton_kit.client.launch",
    "fit": "lepton_kit.fitting",
    "warm": "lepton_kit.client.launch",
    "cool": "lepton_kit.runtime.start",
    "certify": "lepton_kit.client.certify",
    "audit": "lepton_kit.client.audit",
    "Workbench": "lepton_kit.panels",
    "compress": "lepton_kit.deploy",
    "sensitivity": "lepton_kit.deploy",
    "infer": "lepton_kit.deploy",
    "export": "lepton_kit.deploy",
    "load": "lepton_kit.deploy",
}
_ROOMS = (
    "compression",
    "config",
    "data",
    "deploy",
    "devices",
    "doctor",
    "errors",
    "models",
    "panels",
    "training",
)
__all__ = [*_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"lepton_kit.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
