"""Methods that make a model cheaper: pruning and quantization."""

from __future__ import annotations

from lepton_kit.lazy import lazily

_HOMES = {"LiteRTModel": "quantization.litert", "PRECISIONS": "quantization.formats"}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazily(__name__, _HOMES)
