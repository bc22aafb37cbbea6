"""The conformance table: all situations, section by section."""

from __future__ import annotations

import importlib

from tests.conformance.table import Situation

ORDER = (
    "optimizers",
    "losses",
    "metrics",
    "weights",
    "inputs",
    "layers",
    "objects",
    "continuing",
    "callbacks",
    "fitting",
    "refusals",
)

SECTIONS: dict[str, list[Situation]] = {
    module.TITLE: module.SITUATIONS
    for module in (importlib.import_module(f"tests.conformance.sections.{name}") for name in ORDER)
}

SITUATIONS: list[Situation] = [one for section in SECTIONS.values() for one in section]
