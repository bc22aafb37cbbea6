"""A plan as a still picture with words: measured points, what is predicted, and the bounds that hold it in nine of ten cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lepton_kit import drawing
from lepton_kit.drawing import BLUE, GREEN, GREY, ORANGE, VIOLET, WIDTH, Picture
from lepton_kit.planning.estimates import Estimate

COLOURS = (BLUE, ORANGE, GREEN, VIOLET)
LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 70, 16, 54, 46, 300
WIDE = 16
"""From so many times as many workers on, the axis is logarithmic."""
LETTER = 7.0


@dataclass(frozen=True)
class Curve:
    """A predicted quantity by number of workers, and what was measured of it."""

    name: str
    points: Sequence[tuple[int, Estimate]]
    measured: Sequence[tuple[int, float]] = ()


def draw(
    curves: Sequence[Curve], *, quantity: str, text: str, moments: Mapping[str, float], width: int = WIDTH
) -> Picture:
    """The curves over the workers: a band for the bounds, a line for the prediction, dots for what was measured."""
    across = np.array([count for one in curves for count, _ in one.points], np.float64)
    lowest, highest = float(across.min()), float(across.max())
    logarithmic = highest > WIDE * lowest
    tops = [found.high for one in curves for _, found in one.points]
    tops += [value for one in curves for _, value in one.measured]
    # A bound that is far above all that is predicted would leave nothing else to be seen.
    likely = max(found.value for one in curves for _, found in one.points)
    top = min(max(tops), 1.6 * max([likely, *(value for one in curves for _, value in one.measured)]))
    _, top, distance = drawing.axis(np.array([0.0, top]), rounded=True)
    right, bottom = width - RIGHT, HEIGHT - BOTTOM

    def at_x(count: float) -> float:
        if lowest == highest:
            return (LEFT + right) / 2
        if logarithmic:
            share = math.log(count / lowest) / math.log(highest / lowest)
        else:
            share = (count - lowest) / (highest - lowest)
        return LEFT + 14 + share * (right - LEFT - 28)

    def at_y(value: float) -> float:
        return bottom - min(max(value, 0.0), top) / top * (bottom - TOP)

    drawn = []
    for value in drawing.marks(0.0, top, distance):
        drawn.append(drawing.line(LEFT, at_y(value), right, at_y(value), GREY, 'stroke-opacity="0.3"'))
        drawn.append(drawing.words(LEFT - 8, at_y(value) + 4, f"{round(value, 10):,g}", "end"))
    for count in _marks(lowest, highest, logarithmic):
        drawn.append(drawing.line(at_x(count), bottom, at_x(count), bottom + 4, GREY))
        drawn.append(drawing.words(at_x(count), bottom + 17, f"{count:,g}", "middle"))
    drawn.append(drawing.words((LEFT + right) / 2, HEIGHT - 8, "workers", "middle"))
    for name, count in moments.items():
        if lowest <= count <= highest:
            drawn.append(
                drawing.line(at_x(count), TOP - 12, at_x(count), bottom, GREY, 'stroke-dasharray="5 4"')
            )
            late = at_x(count) > (LEFT + right) / 2
            drawn.append(
                drawing.words(at_x(count) + (-5 if late else 5), TOP - 4, name, "end" if late else "start")
            )
    for one, colour in zip(curves, COLOURS * len(curves), strict=False):
        drawn += _curve(one, colour, at_x, at_y)
    drawn += _legend(curves, quantity, width)
    return Picture(drawing.svg(drawn, HEIGHT, text, width), text)


def _curve(
    one: Curve, colour: str, at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> list[str]:
    over = [f"{at_x(count):.1f},{at_y(found.high):.1f}" for count, found in one.points]
    under = [f"{at_x(count):.1f},{at_y(found.low):.1f}" for count, found in reversed(one.points)]
    places = np.array([at_x(count) for count, _ in one.points])
    values = np.array([at_y(found.value) for _, found in one.points])
    parts = [f'<polygon points="{" ".join([*over, *under])}" fill="{colour}" fill-opacity="0.18"/>']
    parts.append(drawing.curve(places, values, colour))
    parts += [
        f'<circle cx="{at_x(count):.1f}" cy="{at_y(value):.1f}" r="4.5" fill="{colour}" stroke="{GREY}"/>'
        for count, value in one.measured
    ]
    return parts


def _legend(curves: Sequence[Curve], quantity: str, width: int) -> list[str]:
    """The quantity and what stands for what in a line above, the curves' names in the next, the last one outermost."""
    dotted = any(one.measured for one in curves)
    said = "line: predicted · band: 9 of 10 cases" + (" · dots: measured" if dotted else "")
    parts = [drawing.words(LEFT, 31, quantity, more=' font-weight="bold"')]
    parts.append(drawing.words(width - RIGHT, 14, said, "end"))
    place = width - RIGHT
    for one, colour in reversed([*zip(curves, COLOURS * len(curves), strict=False)]):
        parts.append(drawing.words(place, 31, one.name, "end", colour))
        place -= int(LETTER * len(one.name) + 16)
    return parts


def _marks(lowest: float, highest: float, logarithmic: bool) -> list[float]:
    if lowest == highest:
        return [lowest]
    if logarithmic:
        low, high = math.ceil(math.log2(lowest) - 1e-9), math.floor(math.log2(highest) + 1e-9)
        return [2.0**power for power in range(low, high + 1)]
    step = max(1, round(drawing.tick(highest - lowest, 10)))
    return [float(count) for count in range(int(lowest), int(highest) + 1, step)]
