"""Images, from files to arrays of bytes."""

from lepton_kit.data.images.source import build, image_folder

__all__ = ["build", "image_folder"]
