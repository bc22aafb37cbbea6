"""What a card shows of a held-out sample: a small picture of an image, the words of a text, the figures of a row."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.tables.fields import told
from lepton_kit.data.tables.preprocessing import TablePreprocessing

SIDE = 64
MAP_SIDE = 160
MOST_WORDS = 30
MOST_FIGURES = 6


def shown(prepared: PreparedData, most: int = MOST_FIGURES) -> Callable[[int], dict[str, Any]]:
    """A function from the row of a held-out sample to ``name``, and ``picture`` or ``text`` where there is one.

    Of the row of a table it takes so many figures, those that stand out ``most``. Of a mask it also takes what was answered and what is true, to be drawn over the image.
    """
    held = prepared.validation
    names = prepared.details.get("validation_names")
    where = prepared.details.get("held_out", "the validation split")

    def show(row: int, answer: np.ndarray | None = None, truth: np.ndarray | None = None) -> dict[str, Any]:
        assert held is not None
        name = f"row {row} of {where}" if names is None or row >= len(names) else str(names[row])
        about = {"name": name}
        x = held.rows(np.array([row]))[0]
        if not isinstance(x, np.ndarray):
            return about
        sample = x[0]
        if (
            answer is not None
            and answer.ndim == 2
            and sample.shape in (answer.shape, (*answer.shape, 1), (*answer.shape, 3))
        ):
            return {**about, "picture": masked(sample, answer, truth)}
        if sample.ndim == 3 and sample.shape[-1] in (1, 3, 4):
            return {**about, "picture": picture(sample, prepared.value_range)}
        if prepared.vocabulary is not None and sample.ndim == 1 and sample.dtype.kind in "iu":
            return {**about, "text": words(sample, prepared.vocabulary)}
        how = prepared.preprocessing
        if isinstance(how, TablePreprocessing) and sample.shape == (len(how.feature_names),):
            return {**about, "text": told(how.columns, sample, most)}
        if prepared.feature_names is not None and sample.shape == (len(prepared.feature_names),):
            return {**about, "text": features(sample, prepared.feature_names, most)}
        return about

    return show


def picture(sample: np.ndarray, value_range: Any) -> str:
    """A PNG of at most 64 pixels a side, as a data URI, of an image ``(height, width, channels)``."""
    from PIL import Image

    low, high = value_range if isinstance(value_range, tuple) and len(value_range) == 2 else (0.0, 1.0)
    plain = (np.asarray(sample, np.float64) - low) / ((high - low) or 1.0)
    pixels = (np.clip(plain, 0, 1) * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def masked(sample: np.ndarray, answer: np.ndarray, truth: np.ndarray | None) -> str:
    """A PNG as a data URI of an image with the answered mask in colour and the true one outlined in yellow."""
    from lepton_kit.data.images.overlay import overlay

    scale = max(1, MAP_SIDE // max(answer.shape))
    drawn = overlay([sample], [answer], truth=None if truth is None else [truth], scale=scale)
    drawn.image.thumbnail((MAP_SIDE, MAP_SIDE))
    return "data:image/png;base64," + base64.b64encode(drawn.png()).decode()


def words(sample: np.ndarray, vocabulary: tuple[str, ...]) -> str:
    """The words of token ids, without padding (0).

    >>> words(np.array([2, 1, 0, 0]), ("", "[UNK]", "hello"))
    'hello [UNK]'
    """
    found = [vocabulary[i] if 0 <= i < len(vocabulary) else "?" for i in sample if i != 0]
    return " ".join(found[:MOST_WORDS]) + (" …" if len(found) > MOST_WORDS else "")


def features(sample: np.ndarray, names: tuple[str, ...], most: int = MOST_FIGURES) -> str:
    """The features that stand out most, as the model sees them.

    >>> features(np.array([0.5, -3.0]), ("age", "income"))
    'income -3, age 0.5'
    """
    order = np.argsort(-np.abs(sample.astype(np.float64)), kind="stable")[:most]
    return ", ".join(f"{names[k]} {sample[k]:.3g}" for k in order)
