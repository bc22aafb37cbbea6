"""Tables: numbers and categories as one array of features."""

from lepton_kit.data.tables.source import build, table

__all__ = ["build", "table"]
