"""Lines against an axis as a still picture (SVG) with words for those who can't see it; it needs neither kernel nor browser code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lepton_kit import drawing
from lepton_kit.drawing import BLUE, GREEN, GREY, ORANGE, VIOLET, WIDTH, Picture
from lepton_kit.errors import ConfigError

COLOURS = (BLUE, ORANGE, GREEN, VIOLET)
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 46


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
    low_x, high_x, tick_x = drawing.axis(np.concatenate([one for one, _ in read.values()]), moments.values())
    low_y, high_y, tick_y = drawing.axis(
        np.concatenate([one for _, one in read.values()]), levels.values(), True
    )
    right, bottom = WIDTH - RIGHT, height - BOTTOM

    def at_x(values: Any) -> Any:
        return LEFT + (np.asarray(values) - low_x) / (high_x - low_x) * (right - LEFT)

    def at_y(values: Any) -> Any:
        return bottom - (np.asarray(values) - low_y) / (high_y - low_y) * (bottom - TOP)

    drawn = []
    for value in drawing.marks(low_y, high_y, tick_y):
        drawn.append(drawing.line(LEFT, at_y(value), right, at_y(value), GREY, 'stroke-opacity="0.3"'))
        drawn.append(drawing.words(LEFT - 8, at_y(value) + 4, f"{round(value, 10):g}", "end"))
    for value in drawing.marks(low_x, high_x, tick_x):
        drawn.append(drawing.line(at_x(value), bottom, at_x(value), bottom + 4, GREY))
        drawn.append(drawing.words(at_x(value), bottom + 17, f"{round(value, 10):g}", "middle"))
    drawn.append(drawing.words((LEFT + right) / 2, height - 8, x, "middle"))
    drawn.append(drawing.words(LEFT, 14, y, "start"))
    for name, value in levels.items():
        drawn.append(drawing.line(LEFT, at_y(value), right, at_y(value), GREY, 'stroke-dasharray="5 4"'))
        drawn.append(drawing.words(LEFT + 5, at_y(value) - 5, name, "start"))
    for name, value in moments.items():
        drawn.append(drawing.line(at_x(value), TOP, at_x(value), bottom, GREY, 'stroke-dasharray="5 4"'))
        drawn.append(drawing.words(at_x(value) - 5, TOP + 10, name, "end"))
    place = right
    coloured = [*zip(read.items(), COLOURS * len(read), strict=False)]
    drawn += [drawing.curve(at_x(across), at_y(up), colour, steps) for (_, (across, up)), colour in coloured]
    for (name, _), colour in reversed(coloured):
        drawn.append(drawing.words(place, 14, name, "end", colour))
        place -= 8 * len(name) + 16
    return Picture(drawing.svg(drawn, height, text), text)


def _pair(name: str, pair: Any) -> tuple[np.ndarray, np.ndarray]:
    rule = "(x values, y values), as many of each, at least two of them finite"
    try:
        across, up = (np.asarray(one, np.float64).reshape(-1) for one in pair)
    except (TypeError, ValueError):
        raise ConfigError(f"curves[{name!r}]", given=pair, rule=rule) from None
    if len(across) != len(up) or (np.isfinite(across) & np.isfinite(up)).sum() < 2:
        raise ConfigError(f"curves[{name!r}]", given=f"{len(across)} and {len(up)} values", rule=rule)
    return across, up
