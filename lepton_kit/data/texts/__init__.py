"""Texts as token ids."""

from lepton_kit.data.texts.source import build, text

__all__ = ["build", "text"]
