"""A small still picture of a run, drawn with Pillow, for readers of a saved notebook without a kernel."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from lepton_kit.drawing import BLUE, GREEN, GREY, ORANGE
from lepton_kit.panels.curves import Curve, Curves, curves_of
from lepton_kit.panels.sentences import short
from lepton_kit.rundir.predictions import Predictions
from lepton_kit.rundir.view import RunView

WIDTH, HEIGHT, SCALE = 840, 190, 2
SEEN_HEIGHT, CELL, NAMES, LETTERS = 240, 18, 190, 22
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 46, 10, 26, 22


def picture_of(view: RunView) -> bytes:
    """Loss, metric and throughput of a run side by side: a PNG on a clear ground, about 10 kB.

    Below them the confusion matrix of the last validation, or what was said against what is true, where there is one.
    """
    from PIL import Image, ImageDraw

    seen = view.predictions[-1] if view.predictions else None
    if seen is not None and seen.form not in ("classes", "places", "values"):
        seen = None
    height = HEIGHT if seen is None else HEIGHT + SEEN_HEIGHT
    image = Image.new("RGBA", (WIDTH * SCALE, height * SCALE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    curves = curves_of(view, points=300)
    third = WIDTH // 3
    for place, (title, lines) in enumerate(_plots(curves)):
        _plot(draw, place * third, third, title, lines, _end(view))
    if seen is not None:
        (_points if seen.form == "values" else _matrix)(draw, seen)
    buffer = io.BytesIO()
    image.quantize(64).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def picture_text(view: RunView) -> str | None:
    """`picture_of` in base64 as a notebook stores it; None for a run without a step."""
    return base64.b64encode(picture_of(view)).decode() if len(view.loss) else None


def _plots(curves: Curves) -> list[tuple[str, list[tuple[str, Curve]]]]:
    return [
        ("Loss (blue training, orange validation)", [(BLUE, curves.loss), (ORANGE, curves.validation_loss)]),
        (
            f"{curves.metric_name.replace('_', ' ').capitalize()}",
            [(BLUE, curves.metric), (ORANGE, curves.validation_metric)],
        ),
        ("Throughput, samples/s", [(GREEN, curves.throughput)]),
    ]


def _end(view: RunView) -> float:
    return float(max(view.total_steps or 0, view.step, 1))


def _plot(draw: Any, left: int, width: int, title: str, lines: list[tuple[str, Curve]], end: float) -> None:
    top, bottom = MARGIN_TOP, HEIGHT - MARGIN_BOTTOM
    x0, x1 = left + MARGIN_LEFT, left + width - MARGIN_RIGHT
    high = _round_up(max((float(y.max()) for _, (_, y) in lines if len(y)), default=1.0))
    text_at(draw, x0, 6, title, anchor="la", size=11)
    for share in (0.0, 0.5, 1.0):
        level = bottom - share * (bottom - top)
        draw.line(
            [(x0 * SCALE, level * SCALE), (x1 * SCALE, level * SCALE)], fill=(125, 133, 144, 90), width=SCALE
        )
        text_at(draw, x0 - 5, level, _figure(share * high), anchor="rm", size=10)
    text_at(draw, x0, bottom + 4, "0", anchor="la", size=10)
    text_at(draw, x1, bottom + 4, f"step {end:,.0f}", anchor="ra", size=10)
    for color, (x, y) in lines:
        if not len(x):
            continue
        xs = x0 + np.asarray(x, float) / end * (x1 - x0)
        ys = bottom - np.clip(np.asarray(y, float) / high, 0, 1.02) * (bottom - top)
        points = [(px * SCALE, py * SCALE) for px, py in zip(xs, ys, strict=True)]
        if len(points) > 1:
            draw.line(points, fill=color, width=2 * SCALE, joint="curve")
        if color == ORANGE or len(points) == 1:
            for px, py in points:
                draw.ellipse([px - 5, py - 5, px + 5, py + 5], fill=color)


def _matrix(draw: Any, seen: Predictions) -> None:
    """A row for each true class, a column for each that was said, shaded by their share of the row."""
    from PIL import ImageColor

    names = [*seen.names, *([f"{seen.others} others"] if seen.others else [])]
    top, cell = HEIGHT + 26, min(CELL, (SEEN_HEIGHT - 34) // len(names))
    title = f"Confusion matrix after epoch {seen.epoch + 1} (a row a true class, a column a said one)"
    text_at(draw, MARGIN_LEFT, HEIGHT + 6, title, anchor="la", size=11)
    shares = seen.counts / np.maximum(seen.counts.sum(1, keepdims=True), 1)
    for true, name in enumerate(names):
        middle = top + (true + 0.5) * cell
        text_at(draw, NAMES - 6, middle, name[:LETTERS], anchor="rm", size=min(10, cell))
        for said, share in enumerate(shares[true]):
            left, shade = NAMES + said * cell, round(30 + 225 * float(share))
            colour = ImageColor.getrgb(BLUE if true == said else ORANGE)
            box = [left, top + true * cell, left + cell - 1, top + (true + 1) * cell - 1]
            draw.rectangle([edge * SCALE for edge in box], fill=(*colour, shade if share else 18))
            if seen.counts[true, said] and cell >= 14:
                text_at(
                    draw, left + cell / 2, middle, short(int(seen.counts[true, said])), anchor="mm", size=8
                )


def _points(draw: Any, seen: Predictions) -> None:
    """What was said against what is true, a square for each value of a sample; on the line it is right."""
    side = SEEN_HEIGHT - 48
    for place, (name, (true, said)) in enumerate(zip(seen.names, seen.points, strict=False)):
        known = np.isfinite(true) & np.isfinite(said)
        if not known.any():
            continue
        left, bottom = MARGIN_LEFT + place * (side + 20), HEIGHT + 26 + side
        low, high = (float(edge(np.concatenate([true[known], said[known]]))) for edge in (np.min, np.max))
        text_at(draw, left, HEIGHT + 6, f"Said against true: {name}"[:34], anchor="la", size=11)
        corners = [left, bottom, left + side, bottom - side]
        draw.line([edge * SCALE for edge in corners], fill=(125, 133, 144, 160), width=SCALE)
        for x, y in zip(true[known], said[known], strict=True):
            across, up = ((value - low) / ((high - low) or 1) * side for value in (x, y))
            at = ((left + across) * SCALE, (bottom - up) * SCALE)
            draw.ellipse([at[0] - 5, at[1] - 5, at[0] + 5, at[1] + 5], fill=BLUE)
        text_at(draw, left, bottom + 4, f"{low:.4g}", anchor="la", size=10)
        text_at(draw, left + side, bottom + 4, f"{high:.4g}", anchor="ra", size=10)


def _figure(value: float) -> str:
    """A figure at an axis.

    >>> _figure(0.375), _figure(37_500.0), _figure(1.5e7)
    ('0.375', '37,500', '1.5e+07')
    """
    return f"{value:,.0f}" if 1000 <= value < 1e6 else f"{value:.4g}"


def text_at(draw: Any, x: float, y: float, text: str, anchor: str, size: int, fill: str = GREY) -> None:
    """Text, grey if nothing else is asked, on a picture at a place of the page; ``anchor`` is Pillow's, such as ``lm``."""
    from PIL import ImageFont

    draw.text(
        (x * SCALE, y * SCALE), text, fill=fill, anchor=anchor, font=ImageFont.load_default(size * SCALE)
    )


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 5, 7.5 times a power of ten: a readable top of an axis."""
    if not np.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 1.5, 2, 3, 5, 7.5, 10) if step * power >= value * 0.999))
