"""What to train on: images, arrays, tables, text and time series, and who trains on which sample."""

from lepton_kit.data.anything import of
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.sources import Dataset, arrays, image_folder, npz, sample, samples, table, text, windows
from lepton_kit.data.streams import stream

__all__ = [
    "Dataset",
    "PreparedData",
    "Split",
    "arrays",
    "image_folder",
    "npz",
    "of",
    "sample",
    "samples",
    "stream",
    "table",
    "text",
    "windows",
]
