"""Images, from files to arrays of samples."""

from lepton_kit.data.images.build import MixedSizes, build
from lepton_kit.data.images.source import image_folder, inputs

__all__ = ["MixedSizes", "build", "image_folder", "inputs"]
