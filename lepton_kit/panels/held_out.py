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
        if one.places is not None:
            about = self._of(one.row, *one.places[::-1])
            if "picture" in about:
                text = "the said classes in colour over the sample, the true ones outlined in yellow"
                return Markup(
                    f'<img class="lk-held" alt="{self._name(about)}: {text}" src="{about["picture"]}">'
                )
            return Markup(f"<span>{self._name(about)}</span>")
        self.load([one])
        about = self._known[one.row]
        name = self._name(about)
        if "picture" in about:
            wide = " lk-held-wide" if about.get("wide") else ""
            return Markup(
                f'<span role="img" aria-label="{name}" title="{name}" class="lk-held{wide} {self._key}-{one.row}"></span>'
            )
        if "text" in about:
            return Markup(f'<span class="lk-words-of">{html.escape(about["text"])}</span>')
        return Markup(f"<span>{name}</span>")

    def _name(self, about: dict[str, Any]) -> str:
        return html.escape(str(about["name"]))

    def _of(self, row: int, said: np.ndarray | None = None, true: np.ndarray | None = None) -> dict[str, Any]:
        try:
            if self._show is None:
                self._show = _reader(self._folder)
            return self._show(row, said, true)
        except (LeptonError, OSError, ValueError, IndexError, KeyError, TypeError):
            return {"name": f"row {row} of the validation split"}


def _reader(folder: Path) -> Callable[..., dict[str, Any]]:
    from lepton_kit.deploy.modelcard.samples import shown

    prepared = open_folder(RunPaths(folder).data)
    if prepared.validation is None:
        raise ValueError("there is no validation split")
    held = prepared.validation
    show: Callable[..., dict[str, Any]] = shown(prepared)

    def read(row: int, said: np.ndarray | None, true: np.ndarray | None) -> dict[str, Any]:
        about = show(row, said, true)
        x = held.rows(np.array([row]))[0]
        if "picture" in about or "text" in about or not isinstance(x, np.ndarray):
            return about
        drawn = _line(x[0])
        return about if drawn is None else {**about, "picture": drawn, "wide": True}

    return read


def _line(sample: np.ndarray) -> str | None:
    """A series ``(time,)`` or ``(time, channels)`` as a picture; None for what is no series."""
    from lepton_kit.data.describe.preview import curve

    drawn = curve(sample)
    if drawn is None:
        return None
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode()
