"""What data are: recognised by their content, read with the verb that suits, and told in words, figures and pictures."""

from lepton_kit.data.describe.describing import describe
from lepton_kit.data.describe.description import Column, Description
from lepton_kit.data.describe.reading import read

__all__ = ["Column", "Description", "describe", "read"]
