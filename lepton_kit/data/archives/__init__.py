"""Named arrays of files: ``.npz``, folders of ``.npy``, HDF5 and MATLAB."""

from lepton_kit.data.archives.layout import open_arrays
from lepton_kit.data.archives.source import build, npz

__all__ = ["build", "npz", "open_arrays"]
