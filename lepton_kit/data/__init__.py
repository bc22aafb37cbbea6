"""What to train on: images, arrays, tables, text and time series, and who trains on which sample."""

from lepton_kit.data.anything import of
from lepton_kit.data.archives import npz
from lepton_kit.data.bundled import sample, samples
from lepton_kit.data.dataset import Dataset
from lepton_kit.data.describe import Description, describe, read
from lepton_kit.data.images import image_folder
from lepton_kit.data.images.overlay import Overlay, overlay
from lepton_kit.data.large import from_spark, parquet, tfrecord, webdataset, zarr
from lepton_kit.data.memory import arrays
from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.series import windows
from lepton_kit.data.splitting import draw_splits
from lepton_kit.data.streams import stream
from lepton_kit.data.tables import table
from lepton_kit.data.texts import text

__all__ = [
    "Dataset",
    "Description",
    "Overlay",
    "PreparedData",
    "Split",
    "arrays",
    "describe",
    "draw_splits",
    "from_spark",
    "image_folder",
    "npz",
    "of",
    "overlay",
    "parquet",
    "read",
    "sample",
    "samples",
    "stream",
    "table",
    "text",
    "tfrecord",
    "webdataset",
    "windows",
    "zarr",
]
