"""Windows of time series."""

from lepton_kit.data.series.source import build, windows

__all__ = ["build", "windows"]
