"""Fewer bits per number: formats, conversion to LiteRT, and training with the rounding."""
