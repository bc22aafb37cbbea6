"""Images, from files to arrays of samples."""

from lepton_kit.data.images.reading import ImageSet, MixedSizes, build
from lepton_kit.data.images.source import image_folder, inputs

__all__ = ["ImageSet", "MixedSizes", "build", "image_folder", "inputs"]
