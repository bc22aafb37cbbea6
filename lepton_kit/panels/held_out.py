"""The samples of a run's validation split as a page shows them: a small picture, a line, the words, the figures of a row."""

from __future__ import annotations

import base64
import html
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.prepared import open_folder
from lepton_kit.errors import LeptonError
from lepton_kit.panels.parts import Markup
from lepton_kit.rundir import RunPaths
from lepton_kit.rundir.predictions import Example

MAP_SIDE = 112
FIGURES = 4
_numbers = itertools.count()


class HeldOut:
    """Shows samples of the data that a run's folder keeps; where they can't be read, only their row is named.

    Pictures stay the same, so they go to a page once, as ``style``; what is shown then refers to them.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._key = f"lk-held-{next(_numbers)}"
        self._known: dict[int, dict[str, Any]] = {}
        self._show: Callable[..., dict[str, Any]] | None = None

    @property
    def style(self) -> str:
        """The pictures of the samples that were asked for."""
        pictures = (
            (row, about["picture"]) for row, about in sorted(self._known.items()) if "picture" in about
        )
        rules = [f".{self._key}-{row}{{background-image:url('{picture}')}}" for row, picture in pictures]
        return f"<style>{''.join(rules)}</style>" if rules else ""

    def load(self, samples: Iterable[Example]) -> None:
        """Read those that are not known yet."""
        missing = [one.row for one in samples if one.places is None and one.row not in self._known]
        for row in missing:
            self._known[row] = self._of(row)

    def __call__(self, one: Example) -> Markup:
        """A sample as HTML."""
        if one.places is None:
            self.load([one])
            about = self._known[one.row]
        else:
            about = self._of(one.row, *one.places)
        name = html.escape(str(about["name"]))
        if "map" in about:
            text = "what the model said in colour over the sample, what is true outlined in yellow"
            return Markup(f'<img class="lk-held" alt="{name}: {text}" title="{name}" src="{about["map"]}">')
        if "picture" in about:
            kind = f"lk-held {self._key}-{one.row}" + (" lk-held-wide" if about.get("wide") else "")
            return Markup(f'<span role="img" aria-label="{name}" title="{name}" class="{kind}"></span>')
        text = html.escape(about["text"]) if "text" in about else f"sample {one.row}"
        return Markup(f'<span class="lk-words-of" title="{text}">{text}</span>')

    def _of(self, row: int, *places: np.ndarray) -> dict[str, Any]:
        try:
            if self._show is None:
                self._show = _reader(self._folder)
            return self._show(row, *places)
        except (LeptonError, OSError, ValueError, IndexError, KeyError, TypeError):
            return {"name": f"row {row} of the validation split"}


def _reader(folder: Path) -> Callable[..., dict[str, Any]]:
    from lepton_kit.deploy.modelcard.samples import shown

    prepared = open_folder(RunPaths(folder).data)
    if prepared.validation is None:
        raise ValueError("there is no validation split")
    held, show = prepared.validation, shown(prepared, FIGURES)

    def read(row: int, *places: np.ndarray) -> dict[str, Any]:
        about = show(row)
        x = held.rows(np.array([row]))[0]
        if places:
            return about | ({"map": _map(x[0], *places)} if isinstance(x, np.ndarray) else {})
        if "picture" in about or "text" in about or not isinstance(x, np.ndarray):
            return about
        drawn = _line(x[0])
        return about if drawn is None else {**about, "picture": drawn, "wide": True}

    return read


def _map(sample: np.ndarray, true: np.ndarray, said: np.ndarray) -> str:
    """What was said over a sample, what is true as an outline. Raises `DataError` for a sample that is no picture."""
    from lepton_kit.data.images.overlay import overlay

    scale = max(1, MAP_SIDE // max(sample.shape[:2]))
    drawn = overlay([sample], [said], truth=[true], scale=scale)
    drawn.image.thumbnail((MAP_SIDE, MAP_SIDE))
    return "data:image/png;base64," + base64.b64encode(drawn.png()).decode()


def _line(sample: np.ndarray) -> str | None:
    """A series ``(time,)`` or ``(time, channels)`` as a picture; None for what is no series."""
    from lepton_kit.data.describe.preview import curve

    drawn = curve(sample)
    if drawn is None:
        return None
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode()
