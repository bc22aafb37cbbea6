"""A report card and a sensitivity table as still pictures, with what they show in words; and beside plotly's figures."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lepton_kit import drawing
from lepton_kit.deploy.report.rows import COLUMNS, Figure, Row
from lepton_kit.drawing import GREY, Picture
from lepton_kit.planning.estimates import digits

if TYPE_CHECKING:
    import plotly.graph_objects

KINDS = {"float": "#3d85c6", "control": "#8a8f98", "variant": "#e08a1e"}
HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 62, 30, 34, 46
NAME_WIDTH = 7.0
"""Width of a letter of a name beside its point, in pixels, rather too much than too little."""


class Drawn(Protocol):
    """What is drawn of a `ReportCard`."""

    @property
    def rows(self) -> Sequence[Row]:
        """One row for each file that was made."""

    @property
    def metric(self) -> str:
        """Name of the score."""

    @property
    def held_out(self) -> int:
        """Samples that no choice saw."""

    def front(self, cost: str) -> Sequence[Row]:
        """Rows that no other row beats in both score and cost."""


def front_picture(card: Drawn, cost: str = "latency_1_one") -> Picture | None:
    """Score against a cost, a point a variant with its interval, and the Pareto front; None where nothing is known."""
    known = [row for row in card.rows if row.get("score") is not None and (row.get(cost) or 0) > 0]
    if not known:
        return None
    scores = [row.figures["score"] for row in known]
    costs = np.log10([float(row.get(cost) or 0) for row in known])
    ends = [end for one in scores for end in (_low(one), _high(one))]
    low_y, high_y, tick_y = drawing.axis(np.asarray(ends), rounded=True)
    low_x, high_x = float(costs.min()) - 0.08, float(costs.max()) + 0.08
    right, bottom = drawing.WIDTH - RIGHT, HEIGHT - BOTTOM

    def at_x(value: float) -> float:
        return LEFT + (value - low_x) / (high_x - low_x) * (right - LEFT)

    def at_y(value: float) -> float:
        return bottom - (value - low_y) / (high_y - low_y) * (bottom - TOP)

    drawn = _ground(drawing.marks(low_y, high_y, tick_y), at_y, right)
    for value in _round_costs(low_x, high_x):
        drawn.append(drawing.line(at_x(math.log10(value)), bottom, at_x(math.log10(value)), bottom + 4))
        drawn.append(drawing.words(at_x(math.log10(value)), bottom + 17, f"{value:,g}", "middle"))
    heading, unit = COLUMNS[cost]
    drawn.append(drawing.words((LEFT + right) / 2, HEIGHT - 8, f"{heading} ({unit}), log scale", "middle"))
    drawn.append(
        drawing.words(LEFT, 14, f"{card.metric} on {card.held_out} held-out samples, with 95 % intervals")
    )
    front = [(at_x(math.log10(row.get(cost) or 1)), at_y(row.get("score") or 0)) for row in card.front(cost)]
    if len(front) > 1:
        across, up = (np.asarray(one) for one in zip(*front, strict=True))
        drawn.append(drawing.curve(across, up, GREY, more=' stroke-dasharray="3 4"'))
    taken = [
        (at_x(x) - 7, at_x(x) + 7, at_y(score.value or 0) + 4) for x, score in zip(costs, scores, strict=True)
    ]
    for row, score, place in zip(known, scores, costs, strict=True):
        x, y = at_x(place), at_y(score.value or 0)
        colour = KINDS[row.role]
        drawn.append(drawing.line(x, at_y(_low(score)), x, at_y(_high(score)), colour))
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        drawn.append(_name(row.name, x, y, taken))
    text = front_told(card, cost)
    return Picture(drawing.svg(drawn, HEIGHT, text), text)


def front_told(card: Drawn, cost: str = "latency_1_one") -> str:
    """What the picture shows, in sentences: the front from its cheapest to its best, and how many rows lie behind it."""
    heading, unit = COLUMNS[cost]
    front = card.front(cost)
    known = [row for row in card.rows if row.get("score") is not None and row.get(cost) is not None]
    if not front:
        return f"No variant has both {card.metric} and {heading}."
    each = ", ".join(f"{row.name} {row.get('score'):.4f} at {_figure(row.get(cost))} {unit}" for row in front)
    behind = len(known) - len(front)
    tail = f" {behind} more are beaten in both." if behind else ""
    return f"{card.metric} against {heading}. Worth having, from the cheapest on: {each}.{tail}"


def losses_picture(
    names: Sequence[str], figures: Sequence[Figure], precision: str, metric: str, held_out: int
) -> Picture:
    """What the score loses when one layer alone is rounded, a bar a layer with its 95 % interval."""
    ends = np.asarray([0.0, *(end for one in figures for end in (_low(one), _high(one)))])
    low, high, tick = drawing.axis(ends, rounded=True)
    row, left = 22, 60 + NAME_WIDTH * max(len(name) for name in names)
    height = TOP + row * len(names) + BOTTOM
    right, bottom = drawing.WIDTH - RIGHT, height - BOTTOM

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    drawn = []
    for value in drawing.marks(low, high, tick):
        drawn.append(drawing.line(at(value), TOP, at(value), bottom, more='stroke-opacity="0.3"'))
        drawn.append(drawing.words(at(value), bottom + 17, f"{round(value, 10):g}", "middle"))
    drawn.append(
        drawing.words(
            (left + right) / 2, height - 8, f"{metric} lost, measured on {held_out} samples", "middle"
        )
    )
    drawn.append(drawing.words(10, 14, f"only this layer in {precision}, with 95 % intervals"))
    for place, (name, one) in enumerate(zip(names, figures, strict=True)):
        y = TOP + row * (place + 0.5)
        x0, x1 = sorted((at(0), at(one.value or 0)))
        drawn.append(drawing.words(left - 10, y + 4, name, "end"))
        drawn.append(
            f'<rect x="{x0:.1f}" y="{y - 6:.1f}" width="{max(1.0, x1 - x0):.1f}" height="12" fill="{KINDS["variant"]}"/>'
        )
        drawn.append(drawing.line(at(_low(one)), y, at(_high(one)), y))
    told = ", ".join(f"{name} {one.value:.4f}" for name, one in zip(names[:8], figures, strict=False))
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    text = f"{metric} lost when only one layer is {precision}: {told}{more}"
    return Picture(drawing.svg(drawn, height, text), text)


def with_picture(figure: plotly.graph_objects.Figure, picture: Picture | None) -> plotly.graph_objects.Figure:
    """The same plotly figure, which also leaves a still picture in a notebook, for readers without its JavaScript."""
    if picture is None:
        return figure
    made = _pictured()(figure)
    made._picture = picture
    return made


@functools.lru_cache(maxsize=1)
def _pictured() -> Any:
    import plotly.graph_objects as go

    class Pictured(go.Figure):
        _picture: Picture

        def _repr_mimebundle_(self, *arguments: Any, **options: Any) -> dict[str, Any]:
            return {**super()._repr_mimebundle_(*arguments, **options), **self._picture._repr_mimebundle_()}

        def _ipython_display_(self) -> None:
            from IPython.display import display

            if drawing.in_notebook():
                display(self._repr_mimebundle_(), raw=True)
            else:
                super()._ipython_display_()

    return Pictured


def _ground(marks: np.ndarray, at_y: Any, right: float) -> list[str]:
    drawn = []
    for value in marks:
        drawn.append(drawing.line(LEFT, at_y(value), right, at_y(value), more='stroke-opacity="0.3"'))
        drawn.append(drawing.words(LEFT - 8, at_y(value) + 4, f"{round(value, 10):g}", "end"))
    return drawn


def _round_costs(low: float, high: float) -> list[float]:
    """Round numbers on a log scale between two powers of ten; few where the scale is long.

    >>> _round_costs(-0.1, 1.1)
    [1.0, 2.0, 5.0, 10.0]
    """
    factors = (1, 2, 5) if high - low < 3 else (1,)
    found = [
        factor * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for factor in factors
    ]
    return [value for value in found if low <= math.log10(value) <= high]


def _name(name: str, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    """A name beside its point, where it covers neither another name nor a point; ``taken`` holds (left, right, line)."""
    width = NAME_WIDTH * len(drawing.short(name))
    places = [(left, y + shift) for shift in (-8, 17, 4, -22, 31, -36) for left in (x + 9, x - 9 - width)]
    free = [
        (left, line)
        for left, line in places
        if left + width < drawing.WIDTH
        and not any(abs(line - at) < 11 and left < end and start < left + width for start, end, at in taken)
    ]
    left, line = (free or places)[0]
    taken.append((left, left + width, line))
    return drawing.label(left, line, name)


def _figure(value: float | None) -> str:
    return "unknown" if value is None else digits(value)


def _low(one: Figure) -> float:
    return float(one.value or 0) if one.low is None else one.low


def _high(one: Figure) -> float:
    return float(one.value or 0) if one.high is None else one.high
