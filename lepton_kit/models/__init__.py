"""Models: LeptonModel for images, tables, text and time series, and how any Keras model travels."""

from typing import TYPE_CHECKING

from lepton_kit.lazy import lazily
from lepton_kit.models.compare import ready, same, verify
from lepton_kit.models.defaults import compile_defaults
from lepton_kit.models.exactness import explain_inexactness
from lepton_kit.models.lepton import LeptonModel
from lepton_kit.models.payload import build, store
from lepton_kit.models.shapes import check_fits, input_shapes, task_of
from lepton_kit.models.targets import Task

if TYPE_CHECKING:
    from lepton_kit.models.layers import SyncBatchNormalization, synchronize_batch_normalization
    from lepton_kit.models.overlap import Dice

__all__ = [
    "Dice",
    "LeptonModel",
    "SyncBatchNormalization",
    "Task",
    "build",
    "check_fits",
    "compile_defaults",
    "explain_inexactness",
    "input_shapes",
    "ready",
    "same",
    "store",
    "synchronize_batch_normalization",
    "task_of",
    "verify",
]

# These load Keras, so they are imported when asked for.
__getattr__, _ = lazily(
    __name__,
    {
        "Dice": "overlap",
        "SyncBatchNormalization": "layers",
        "synchronize_batch_normalization": "layers",
    },
)
