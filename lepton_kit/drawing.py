"""Still pictures (SVG) with words for those who can't see them: they need neither kernel nor browser code."""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np

GREY = "#7d8590"
BLUE, ORANGE, GREEN, VIOLET = "#3d85c6", "#e08a1e", "#3c9d5b", "#9a72c7"
"""Mid-tones that can be told apart, with a contrast of at least 3:1, on white and on JupyterLab's dark ground."""
WIDTH = 820
STEPS = (1.0, 2.0, 5.0, 10.0)
PNG, SVG = "image/png", "image/svg+xml"


class Picture:
    """An SVG picture: shows itself in a notebook, saved ones too. ``text`` says in words what is to be seen."""

    def __init__(self, svg: str, text: str):
        self.svg, self.text = svg, text

    def __repr__(self) -> str:
        return f"<Picture: {self.text}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return still(SVG, self.svg, self.text) | {"text/plain": repr(self)}


def still(mime: str, data: str, text: str, css: str = "") -> dict[str, str]:
    """A picture as a notebook stores it: by its type (PNG in base64, or SVG) and as HTML, which alone carries the text.

    Converters to HTML drop the alternative text of plain PNG and SVG outputs (nbconvert 7.16, seen 2026-11).

    >>> still(PNG, "iVBO", "A curve & its end")["text/html"]
    '<img alt="A curve &amp; its end" src="data:image/png;base64,iVBO" style="max-width:100%">'
    """
    coded = data if mime == PNG else base64.b64encode(data.encode()).decode()
    kind = f' class="{css}"' if css else ""
    shown = f'<img{kind} alt="{escape(text)}" src="data:{mime};base64,{coded}" style="max-width:100%">'
    return {mime: data, "text/html": shown}


def svg(inside: Iterable[str], height: float, text: str, width: float = WIDTH) -> str:
    """A whole SVG picture around drawn parts, named for screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" aria-label="{escape(text)}" font-family="sans-serif" font-size="12">'
        f"<title>{escape(text)}</title>{''.join(inside)}</svg>"
    )


def tick(span: float, about: int = 5) -> float:
    """A round distance between marks: 1, 2 or 5 times a power of ten, about so many in a span.

    >>> tick(1.0), tick(37.0), tick(0.03)
    (0.2, 10.0, 0.01)
    """
    power = 10.0 ** math.floor(math.log10(span / about))
    return next(step * power for step in STEPS if step * power * about >= span * (1 - 1e-9))


def axis(values: np.ndarray, more: Iterable[float] = (), rounded: bool = False) -> tuple[float, float, float]:
    """(lowest, highest, distance of marks); rounded to marks where asked."""
    known = np.concatenate([values[np.isfinite(values)], np.asarray([*more], np.float64)])
    low, high = float(known.min()), float(known.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    distance = tick(high - low)
    if rounded:
        low = math.floor(low / distance + 1e-9) * distance
        high = math.ceil(high / distance - 1e-9) * distance
    return low, high, distance


def marks(low: float, high: float, distance: float) -> np.ndarray:
    """Multiples of a distance from ``low`` to ``high``.

    >>> marks(0.5, 2.0, 0.5).tolist()
    [0.5, 1.0, 1.5, 2.0]
    """
    return np.arange(math.ceil(low / distance - 1e-9) * distance, high + distance * 1e-9, distance)


def line(x0: float, y0: float, x1: float, y1: float, colour: str = GREY, more: str = "") -> str:
    """A straight line."""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" {more}/>'


def words(x: float, y: float, text: str, anchor: str = "start", colour: str = GREY, more: str = "") -> str:
    """One line of text; ``anchor`` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{more}>{escape(text)}</text>'


def short(name: str, most: int = 40) -> str:
    """A name of at most so many letters, without its middle: both its ends may tell it from others.

    >>> short("a-name-that-goes-on-and-on-7", 13)
    'a-name…d-on-7'
    """
    if len(name) <= most:
        return name
    return f"{name[: most // 2]}…{name[len(name) - (most - 1) // 2 :]}"


def label(x: float, y: float, name: str, colour: str = GREY) -> str:
    """A name as one line of text; of a long one the ends, and the whole where the pointer rests on it."""
    text = words(x, y, short(name), colour=colour)
    return text if len(name) == len(short(name)) else f"<g><title>{escape(name)}</title>{text}</g>"


def curve(across: np.ndarray, up: np.ndarray, colour: str, steps: bool = False, more: str = "") -> str:
    """A line through points; one that is not finite breaks it, ``steps`` holds a value until the next one."""
    path, pen, before = [], "M", 0.0
    for one, other in zip(across.tolist(), up.tolist(), strict=True):
        if not (math.isfinite(one) and math.isfinite(other)):
            pen = "M"
            continue
        if steps and pen == "L":
            path.append(f"L{one:.1f} {before:.1f}")
        path.append(f"{pen}{one:.1f} {other:.1f}")
        pen, before = "L", other
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2"{more}/>'


def in_notebook() -> bool:
    """Whether the output of this process goes to a page that can show widgets."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
