from lepton_kit.compression.quantization.formats import PRECISIONS as PRECISIONS
from lepton_kit.compression.quantization.litert import LiteRTModel as LiteRTModel

__all__ = [
    "PRECISIONS",
    "LiteRTModel",
]
