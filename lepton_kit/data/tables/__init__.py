"""Tables: numbers and categories as one array of features."""

from lepton_kit.data.tables.source import build, inputs, table

__all__ = ["build", "inputs", "table"]
