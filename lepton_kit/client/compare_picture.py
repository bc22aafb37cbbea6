"""The curves of a comparison as a still picture with words: one quantity, one colour a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lepton_kit import drawing
from lepton_kit.drawing import BLUE, GREEN, GREY, ORANGE, VIOLET, WIDTH, Picture
from lepton_kit.rundir.decimate import thin

if TYPE_CHECKING:
    import pandas as pd

POINTS = 600
"""Points a curve may have: a plot is 300 to 900 pixels wide."""
COLOURS = (BLUE, ORANGE, GREEN, VIOLET, "#c45a6e", "#3b8f8f", "#a07b35", GREY)
"""Mid-tones with a contrast of at least 3:1 on white and on dark pages; from the ninth run on they come again."""
HEIGHT, LEFT, RIGHT, BOTTOM, LINE = 300, 62, 14, 46, 17
LETTER = 7.5
"""Width of a letter of a name, in pixels, rather too much than too little."""
TITLES = {"seconds": "seconds since the run began"}


class Compared(Protocol):
    """What is drawn of a `Comparison`."""

    names: list[str]

    @property
    def quantities(self) -> tuple[str, ...]:
        """What can be drawn."""
        ...

    def curves(self, quantity: str = "loss", *, x: str = "step", smoothing: float = 0.0) -> pd.DataFrame:
        """The points of a quantity."""
        ...


Curve = tuple[str, str, bool, np.ndarray, np.ndarray, np.ndarray]


def draw(
    found: Compared, quantity: str, x: str, smoothing: float, log_x: bool = False, log_y: bool = False
) -> Picture:
    """Training as a line, validation dashed; under a smoothed curve the plain one is faint."""
    curves = list(_curves(found, quantity, x, smoothing, log_x, log_y))
    title = quantity.replace("_", " ")
    if not curves:
        text = f"{title}: none of {', '.join(found.names)} has a value to draw"
        return Picture(drawing.svg([drawing.words(LEFT, 30, text)], 50, text), text)
    legend = list(_legend(found.names))
    top = 22 + LINE * (1 + max(place for place, _, _, _ in legend))
    across = np.concatenate([one for *_, one, _, _ in curves])
    up = np.concatenate([one for *_, one, _ in curves] + [one for *_, one in curves])
    at_x, marks_x = _scale(across, log_x, LEFT, WIDTH - RIGHT, rounded=False)
    at_y, marks_y = _scale(up, log_y, HEIGHT - BOTTOM, top, rounded=True)
    parts = []
    for value, text in marks_y:
        parts.append(
            drawing.line(LEFT, at_y(value), WIDTH - RIGHT, at_y(value), GREY, 'stroke-opacity="0.3"')
        )
        parts.append(drawing.words(LEFT - 8, at_y(value) + 4, text, "end"))
    for value, text in marks_x:
        parts.append(drawing.line(at_x(value), HEIGHT - BOTTOM, at_x(value), HEIGHT - BOTTOM + 4, GREY))
        parts.append(drawing.words(at_x(value), HEIGHT - BOTTOM + 17, text, "middle"))
    parts.append(drawing.words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, TITLES.get(x, x), "middle"))
    parts.append(
        drawing.words(LEFT, 14, title + (", log scale" if log_y else ""), more=' font-weight="bold"')
    )
    for name, colour, dashed, one, plain, smooth in curves:
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        if smoothing > 0:
            parts.append(drawing.curve(at_x(one), at_y(plain), colour, more=f' stroke-opacity="0.25"{dash}'))
        line = drawing.curve(at_x(one), at_y(smooth), colour, more=dash)
        last = smooth[np.isfinite(smooth)][-1]
        split = "validation" if dashed else "training"
        words = f"{name}, {split}: {10**last if log_y else last:.4g} at the end"
        dots = (
            "".join(_dot(at_x(a), at_y(b), colour) for a, b in zip(one, smooth, strict=True))
            if len(one) < 13
            else ""
        )
        parts.append(f"<g><title>{escape(words)}</title>{line}{dots}</g>")
    for row, left, name, place in legend:
        parts.append(drawing.label(left, 14 + LINE * (row + 1), name, COLOURS[place % len(COLOURS)]))
    text = f"{title} over {TITLES.get(x, x)} of {', '.join(found.names)}"
    return Picture(drawing.svg(parts, HEIGHT, text), text)


def _curves(
    found: Compared, quantity: str, x: str, smoothing: float, log_x: bool, log_y: bool
) -> Iterator[Curve]:
    """Name, colour, whether it is validation, x, plain and smoothed values; logarithms where an axis is such."""
    for name, dashed in ((quantity, False), (f"val_{quantity}", True)):
        if name not in found.quantities:
            continue
        table = found.curves(name, x=x, smoothing=smoothing)
        for place, run in enumerate(found.names):
            rows = table[table["run"] == run]
            across, smooth = thin(
                np.asarray(rows[x], np.float64), np.asarray(rows["smoothed"], np.float64), POINTS
            )
            _, plain = thin(np.asarray(rows[x], np.float64), np.asarray(rows["value"], np.float64), POINTS)
            if smoothing > 0:  # the same places for both
                plain = np.asarray(rows["value"], np.float64)[
                    np.searchsorted(np.asarray(rows[x], np.float64), across)
                ]
            across, plain, smooth = _log(across, log_x), _log(plain, log_y), _log(smooth, log_y)
            good = np.isfinite(across)
            if (good & np.isfinite(smooth)).any():
                yield run, COLOURS[place % len(COLOURS)], dashed, across[good], plain[good], smooth[good]


def _log(values: np.ndarray, wanted: bool) -> np.ndarray:
    """Logarithms where they are wanted; what has none is left out."""
    if not wanted:
        return values
    return np.asarray(np.log10(values, out=np.full(len(values), np.nan), where=values > 0))


def _scale(values: np.ndarray, log: bool, start: float, end: float, rounded: bool) -> Any:
    """A function from values to places, and the marks with their texts."""
    low, high, distance = drawing.axis(values, rounded=rounded)

    def at(value: Any) -> Any:
        return start + (np.asarray(value) - low) / (high - low) * (end - start)

    if not log:
        return at, [(value, f"{round(value, 10):g}") for value in drawing.marks(low, high, distance)]
    every = max(1, round((high - low) / 6))
    factors = (1, 2, 5) if high - low < 3 else (1,)
    places = [
        (power + math.log10(factor), f"{factor * 10.0**power:g}")
        for power in range(math.floor(low), math.ceil(high) + 1, every)
        for factor in factors
    ]
    return at, [(value, text) for value, text in places if low - 1e-9 <= value <= high + 1e-9]


def _legend(names: list[str]) -> Iterator[tuple[int, float, str, int]]:
    """Row, left end, name and number of each run; on as many rows as are needed."""
    row, left = 0, float(LEFT)
    for place, name in enumerate(names):
        width = LETTER * len(drawing.short(name)) + 18
        if left + width > WIDTH - RIGHT and left > LEFT:
            row, left = row + 1, float(LEFT)
        yield row, left, name, place
        left += width


def _dot(x: float, y: float, colour: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        if math.isfinite(x) and math.isfinite(y)
        else ""
    )
