"""Texts as token ids."""

from lepton_kit.data.texts.source import build, text
from lepton_kit.data.texts.tokens import words

__all__ = ["build", "text", "words"]
