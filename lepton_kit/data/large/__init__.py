"""Data larger than memory, read by index without a decoded copy."""

from lepton_kit.data.large.records import tfrecord
from lepton_kit.data.large.row_groups import parquet
from lepton_kit.data.large.shards import webdataset
from lepton_kit.data.large.spark_frames import from_spark
from lepton_kit.data.large.zarrays import zarr

__all__ = ["from_spark", "parquet", "tfrecord", "webdataset", "zarr"]
