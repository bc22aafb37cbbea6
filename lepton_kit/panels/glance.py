"""A glance at data: a few samples as thumbnails and how many there are of each class."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import numpy as np

from lepton_kit.panels.parts import Markup, bar

THUMBNAILS = 10
SEQUENCE_POINTS = 48


def first_of_each(labels: np.ndarray, most: int) -> np.ndarray:
    """Positions of the first sample of each class, then of further samples, at most ``most``.

    >>> first_of_each(np.array([1, 1, 0, 2]), most=3)
    array([2, 0, 3])
    """
    _, first = np.unique(labels, return_index=True)
    chosen = list(first[:most])
    chosen += [place for place in range(len(labels)) if place not in set(chosen)][: most - len(chosen)]
    return np.array(chosen, np.int64)


def as_image(sample: np.ndarray, value_range: tuple[float, float]) -> Any:
    """A sample of shape (height, width, channels) as a Pillow image; other shapes have none (None)."""
    from PIL import Image

    if sample.ndim != 3 or sample.shape[-1] not in (1, 3, 4):
        return None
    low, high = value_range
    scaled = (np.asarray(sample, np.float64) - low) / ((high - low) or 1) * 255
    pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def thumbnails(prepared: Any, most: int = THUMBNAILS) -> Markup:
    """The first sample of each class as small pictures, or an empty text for data that are not images."""
    x, y = prepared.train.x, prepared.train.y
    if not isinstance(x, np.ndarray) or x.ndim != 4:
        return Markup("")
    labels = np.asarray(y).reshape(-1) if prepared.task == "classification" else None
    places = first_of_each(labels, most) if labels is not None else np.arange(min(most, len(x)))
    names = prepared.class_names
    pieces = []
    for place in places:
        image = as_image(np.asarray(x[place]), prepared.value_range)
        if image is None:
            return Markup("")
        buffer = io.BytesIO()
        image.thumbnail((64, 64))
        image.save(buffer, "PNG")
        label = str(names[int(labels[place])] if names is not None and labels is not None else "")
        source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        pieces.append(
            f'<img class="lk-thumb" src="{source}" alt="a sample of class {html.escape(label)}" title="{html.escape(label)}">'
        )
    return Markup(f"<div>{''.join(pieces)}</div>")


def class_counts(prepared: Any) -> Markup:
    """How many samples to train on there are of each class, as one bar; empty for other tasks."""
    if prepared.task != "classification":
        return Markup("")
    counts = np.bincount(np.asarray(prepared.train.y).reshape(-1), minlength=prepared.num_classes)
    names = prepared.class_names or tuple(map(str, range(prepared.num_classes)))
    pieces = [
        (int(count), f"{name}: {count} samples", str(name) if len(names) <= 12 else "")
        for name, count in zip(names, counts, strict=True)
    ]
    return bar(f"samples of each class: {counts[:50].tolist()}", pieces)


def glance(prepared: Any) -> str:
    """Counts, shape and labels in words, with pictures where the data are images."""
    lines = "<br>".join(html.escape(line) for line in prepared.summary().splitlines())
    return f'{thumbnails(prepared)}{class_counts(prepared)}<div class="lk-note">{lines}</div>'
