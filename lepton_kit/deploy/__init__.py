"""What a trained run becomes: the report card of its compression, exports, batch inference, FPGA."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "CompressionJob": "report.compress",
    "Figure": "report.rows",
    "FpgaModel": "fpga",
    "Predictor": "predict",
    "ReportCard": "report.card",
    "Row": "report.rows",
    "Sensitivity": "report.sensitivities",
    "compress": "report.compress",
    "export": "exports",
    "infer": "inference",
    "load": "loading",
    "sensitivity": "report.sensitivities",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
