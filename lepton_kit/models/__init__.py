"""Models: LeptonModel for images, tables, text and time series, and how any Keras model travels."""

from lepton_kit.models.lepton import LeptonModel

__all__ = ["LeptonModel"]
