"""Lines against an axis as a still picture (SVG) with words for those who can't see it; it needs neither kernel nor browser code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lepton_kit.errors import ConfigError
from lepton_kit.panels.figure import BLUE, GREEN, GREY, ORANGE, VIOLET

COLOURS = (BLUE, ORANGE, GREEN, VIOLET)
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 820, 62, 14, 34, 46
STEPS = (1.0, 2.0, 5.0, 10.0)


class Picture:
    """An SVG picture: shows itself in a notebook, saved ones too. ``text`` says in words what is to be seen."""

    def __init__(self, svg: str, text: str):
        self.svg, self.text = svg, text

    def __repr__(self) -> str:
        return f"<Picture: {self.text}>"

    def _repr_svg_(self) -> str:
        return self.svg


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    text: str,
    x: str = "",
    y: str = "",
    levels: Mapping[str, float] | None = None,
    moments: Mapping[str, float] | None = None,
    steps: bool = False,
    height: int = 260,
) -> Picture:
    """Curves by name, each a pair (x values, y values), drawn into one picture.

    ``text`` says in words what is to be seen; ``x`` and ``y`` are the titles of the axes, with their units. ``levels`` are
    dashed lines across, ``moments`` upright ones, by name. ``steps`` holds a value until the next one. A value that is
    not finite breaks a curve. ``height`` is in pixels. Raises `ConfigError` for curves without two finite points.

    >>> lines({"sine": ([0, 1, 2], [0.0, 0.8, 0.9])}, text="A sine that rises", x="seconds")
    <Picture: A sine that rises>
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("text", given=text, rule="a sentence that says what is to be seen")
    read = {str(name): _pair(str(name), pair) for name, pair in curves.items()}
    levels, moments = dict(levels or {}), dict(moments or {})
    if not read:
        raise ConfigError("curves", given=dict(curves), rule="at least one curve: name -> (x, y)")
    low_x, high_x, _ = _range(np.concatenate([one for one, _ in read.values()]), moments.values(), False)
    low_y, high_y, tick_y = _range(np.concatenate([one for _, one in read.values()]), levels.values(), True)
    right, bottom = WIDTH - RIGHT, height - BOTTOM

    def at_x(values: Any) -> Any:
        return LEFT + (np.asarray(values) - low_x) / (high_x - low_x) * (right - LEFT)

    def at_y(values: Any) -> Any:
        return bottom - (np.asarray(values) - low_y) / (high_y - low_y) * (bottom - TOP)

    drawn = []
    for value in np.arange(low_y, high_y + tick_y / 2, tick_y):
        drawn.append(_line(LEFT, at_y(value), right, at_y(value), GREY, 'stroke-opacity="0.3"'))
        drawn.append(_text(LEFT - 8, at_y(value) + 4, f"{round(value, 10):g}", "end"))
    tick_x = _tick(high_x - low_x)
    for value in np.arange(math.ceil(low_x / tick_x - 1e-9) * tick_x, high_x + tick_x * 1e-9, tick_x):
        drawn.append(_line(at_x(value), bottom, at_x(value), bottom + 4, GREY))
        drawn.append(_text(at_x(value), bottom + 17, f"{round(value, 10):g}", "middle"))
    drawn.append(_text((LEFT + right) / 2, height - 8, x, "middle"))
    drawn.append(_text(LEFT, 14, y, "start"))
    for name, value in levels.items():
        drawn.append(_line(LEFT, at_y(value), right, at_y(value), GREY, 'stroke-dasharray="5 4"'))
        drawn.append(_text(LEFT + 5, at_y(value) - 5, name, "start"))
    for name, value in moments.items():
        drawn.append(_line(at_x(value), TOP, at_x(value), bottom, GREY, 'stroke-dasharray="5 4"'))
        drawn.append(_text(at_x(value) - 5, TOP + 10, name, "end"))
    place = right
    coloured = [*zip(read.items(), COLOURS * len(read), strict=False)]
    drawn += [_curve(at_x(across), at_y(up), colour, steps) for (_, (across, up)), colour in coloured]
    for (name, _), colour in reversed(coloured):
        drawn.append(_text(place, 14, name, "end", colour))
        place -= 8 * len(name) + 16
    return Picture(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(text)}" font-family="sans-serif" font-size="12">'
        f"<title>{escape(text)}</title>{''.join(drawn)}</svg>",
        text,
    )


def _pair(name: str, pair: Any) -> tuple[np.ndarray, np.ndarray]:
    rule = "(x values, y values), as many of each, at least two of them finite"
    try:
        across, up = (np.asarray(one, np.float64).reshape(-1) for one in pair)
    except (TypeError, ValueError):
        raise ConfigError(f"curves[{name!r}]", given=pair, rule=rule) from None
    if len(across) != len(up) or (np.isfinite(across) & np.isfinite(up)).sum() < 2:
        raise ConfigError(f"curves[{name!r}]", given=f"{len(across)} and {len(up)} values", rule=rule)
    return across, up


def _tick(span: float, about: int = 5) -> float:
    """A round distance between marks: 1, 2 or 5 times a power of ten, about so many in a span.

    >>> _tick(1.0), _tick(37.0), _tick(0.03)
    (0.2, 10.0, 0.01)
    """
    power = 10.0 ** math.floor(math.log10(span / about))
    return next(step * power for step in STEPS if step * power * about >= span * (1 - 1e-9))


def _range(values: np.ndarray, more: Any, rounded: bool) -> tuple[float, float, float]:
    """(lowest, highest, distance of marks); rounded to marks where asked."""
    known = np.concatenate([values[np.isfinite(values)], np.asarray([*more], np.float64)])
    low, high = float(known.min()), float(known.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    tick = _tick(high - low)
    if rounded:
        low, high = math.floor(low / tick + 1e-9) * tick, math.ceil(high / tick - 1e-9) * tick
    return low, high, tick


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" {more}/>'


def _text(x: float, y: float, words: str, anchor: str, colour: str = GREY) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _curve(across: np.ndarray, up: np.ndarray, colour: str, steps: bool) -> str:
    path, pen, before = [], "M", 0.0
    for one, other in zip(across.tolist(), up.tolist(), strict=True):
        if not (math.isfinite(one) and math.isfinite(other)):
            pen = "M"
            continue
        if steps and pen == "L":
            path.append(f"L{one:.1f} {before:.1f}")
        path.append(f"{pen}{one:.1f} {other:.1f}")
        pen, before = "L", other
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2"/>'
