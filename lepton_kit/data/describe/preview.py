"""A look at data as HTML: rows of a table, thumbnails of images, sentences, curves of series."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import numpy as np

THUMBNAILS = 10
ROWS = 5
MOST_COLUMNS = 10
LONGEST = 120
POINTS = 200
WIDTH, HEIGHT = 180, 56
COLORS = ("#3d85c6", "#c2740c", "#2f8a4b", "#8a5fbf")


def preview(prepared: Any, frame: Any = None, text: str | None = None, label: str | None = None) -> str:
    """The preview that suits: of a frame its first rows or its sentences, else of the prepared samples."""
    if frame is not None and text is not None and text in frame.columns:
        return sentences(frame, text, label)
    if frame is not None:
        return rows(frame)
    return (thumbnails(prepared) or curves(prepared)) if prepared is not None else ""


def rows(frame: Any) -> str:
    """The first rows of a pandas frame."""
    shown = list(frame.columns[:MOST_COLUMNS])
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in shown)
    more = len(frame.columns) - len(shown)
    head += f"<th>and {more} more</th>" if more > 0 else ""
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in line) + "</tr>"
        for line in frame[shown].head(ROWS).itertuples(index=False, name=None)
    )
    return (
        "<div class='lk-preview'><table class='lk-table'>"
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def sentences(frame: Any, text: str, label: str | None) -> str:
    """The first text of each class, with its label."""
    if label is None or label not in frame.columns:
        chosen = frame.head(ROWS)
    else:
        firsts = frame.drop_duplicates(subset=[label]) if frame[label].map(_is_plain).all() else frame
        chosen = firsts.head(ROWS)
    lines = "".join(
        f"<li><span>{html.escape(_cell(line[text], LONGEST))}</span>"
        + (f" <b>{html.escape(_cell(line[label]))}</b>" if label in frame.columns else "")
        + "</li>"
        for _, line in chosen.iterrows()
    )
    return f"<ul class='lk-preview lk-sentences'>{lines}</ul>"


def first_of_each(labels: np.ndarray, most: int) -> np.ndarray:
    """Positions of the first sample of each class, then of further samples, at most ``most``.

    >>> first_of_each(np.array([1, 1, 0, 2]), most=3)
    array([2, 0, 3])
    """
    _, first = np.unique(labels, return_index=True)
    chosen = list(first[:most])
    taken = set(chosen)
    chosen += [place for place in range(min(len(labels), 4 * most)) if place not in taken][
        : most - len(chosen)
    ]
    return np.array(chosen, np.int64)


def as_image(sample: np.ndarray, value_range: tuple[float, float]) -> Any:
    """A sample of shape (height, width, channels), or of bytes (height, width), as a Pillow image; else None."""
    from PIL import Image

    if sample.ndim == 2 and sample.dtype == np.uint8:
        sample = sample[..., np.newaxis]
    if sample.ndim != 3 or sample.shape[-1] not in (1, 3, 4):
        return None
    low, high = value_range
    scaled = (np.asarray(sample, np.float64) - low) / ((high - low) or 1) * 255
    pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def thumbnails(prepared: Any, most: int = THUMBNAILS) -> str:
    """The first sample of each class as small pictures, or an empty text for data that are not images."""
    x, places, names = prepared.train.x, *_chosen(prepared, most)
    if not isinstance(x, np.ndarray) or x.ndim not in (3, 4) or (x.ndim == 3 and x.dtype != np.uint8):
        return ""
    pieces = []
    for place, name in zip(places, names, strict=True):
        image = as_image(np.asarray(x[place]), prepared.value_range)
        if image is None:
            return ""
        image.thumbnail((112, 112))
        pieces.append(_picture(image, name))
        mask = _mask(prepared, place)
        if mask is not None:
            mask.thumbnail((112, 112))
            pieces.append(_picture(mask, "its mask"))
    return f"<div class='lk-preview'>{''.join(pieces)}</div>"


def _mask(prepared: Any, place: int) -> Any:
    """The label map of an image, spread over grey levels, or None."""
    from PIL import Image

    y = prepared.train.y
    if not isinstance(y, np.ndarray) or y.ndim not in (3, 4) or y.dtype.kind not in "iub":
        return None
    values = np.asarray(y[place])
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    if values.ndim != 2:
        return None
    top = max(int(values.max()), (prepared.num_classes or 2) - 1, 1)
    return Image.fromarray((values.astype(np.float64) * 255 / top).astype(np.uint8))


def _picture(image: Any, name: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    label = html.escape(name)
    return f"<img class='lk-thumb' src='{source}' alt='a sample: {label}' title='{label}'>"


def _chosen(prepared: Any, most: int) -> tuple[np.ndarray, list[str]]:
    """Which samples are shown, and the class of each (empty texts where there are none)."""
    count = len(prepared.train)
    y = prepared.train.y
    if prepared.task != "classification" or not isinstance(y, np.ndarray) or len(y.reshape(-1)) != count:
        return np.arange(min(most, count)), [""] * min(most, count)
    labels = np.asarray(y).reshape(-1)
    places = first_of_each(labels, most)
    names = prepared.class_names
    return places, [str(names[int(labels[p])] if names else int(labels[p])) for p in places]


def curves(prepared: Any, most: int = 6) -> str:
    """A series of each class as a small line plot; empty for samples of other shapes than (time, channels)."""
    x = prepared.train.x
    if not isinstance(x, np.ndarray) or x.ndim not in (2, 3) or x.dtype.kind != "f" or x.shape[1] < 8:
        return ""
    if x.ndim == 2 and prepared.feature_names is not None:  # columns of a table are no curve
        return ""
    places, names = _chosen(prepared, most)
    drawn = []
    for place, name in zip(places, names, strict=True):
        sample = np.asarray(x[place], np.float64)
        drawn.append(_plot(sample.reshape(len(sample), -1), name))
    return f"<div class='lk-preview lk-plots'>{''.join(drawn)}</div>"


def curve(sample: np.ndarray) -> str | None:
    """A series ``(time,)`` or ``(time, channels)`` of at least 8 values as an SVG that stands alone; None for anything else."""
    if sample.dtype.kind != "f" or sample.ndim not in (1, 2) or len(sample) < 8:
        return None
    size = f"viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}'"
    lines = _lines(np.asarray(sample, np.float64).reshape(len(sample), -1))
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size}>{lines}</svg>"


def _lines(sample: np.ndarray) -> str:
    step = max(1, len(sample) // POINTS)
    shown = sample[::step, : len(COLORS)]
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    across = np.linspace(1, WIDTH - 1, len(shown))
    lines = []
    for channel, color in zip(shown.T, COLORS, strict=False):
        down = 3 + (HEIGHT - 6) * (1 - (channel - low) / ((high - low) or 1))
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
        lines.append(f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='1.2'/>")
    return "".join(lines)


def _plot(sample: np.ndarray, name: str) -> str:
    label = html.escape(name)
    return (
        f"<figure><svg width='{WIDTH}' height='{HEIGHT}' role='img' aria-label='a series of class {label}'>"
        f"{_lines(sample)}</svg><figcaption>{label}</figcaption></figure>"
    )


def _is_plain(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _cell(value: Any, longest: int = 32) -> str:
    if isinstance(value, float):
        text = "" if np.isnan(value) else f"{value:.6g}"
    else:
        text = "" if value is None else str(value).removesuffix(" 00:00:00")
    return text if len(text) <= longest else text[: longest - 1] + "…"
