"""Methods that make a model cheaper: pruning and quantization."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"LiteRTModel": "quantization.litert", "PRECISIONS": "quantization.formats"}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
