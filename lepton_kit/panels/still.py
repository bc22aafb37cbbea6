"""Still pictures of panels in a saved notebook: what a reader without a kernel sees and hears, renewed as it changes."""

from __future__ import annotations

import contextvars
import logging
import re
import textwrap
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import ipywidgets as widgets

from lepton_kit import drawing

log = logging.getLogger(__name__)
CLASS = "lk-still"
HIDDEN = (
    f".jp-OutputArea:has(.lk-panel) .jp-OutputArea-child:has(.{CLASS}),"
    f".output:has(.lk-panel) .output_area:has(.{CLASS}){{display:none}}"
)
"""Style by which a page that shows a panel itself does not show its still picture too."""
LINE, LETTERS, MOST_LINES, MOST_WORDS = 19, 112, 26, 600
BREAKS = {"div", "p", "li", "tr", "br", "table", "pre", "ul", "h1", "h2", "h3", "h4", "figure"}
VOID = {"img", "br", "hr", "input"}


def bundle_of(text: str, png: str | None = None, svg: str | None = None) -> dict[str, str]:
    """The still picture as a notebook stores it: a PNG in base64 or an SVG, with its alternative text.

    An SVG is kept as HTML alone: a picture that is words now and curves later has no other kinds of output then.
    """
    if png is not None:
        return drawing.still(drawing.PNG, png, text, CLASS)
    assert svg is not None
    made = drawing.still(drawing.SVG, svg, text, CLASS)
    return {"text/html": made["text/html"]}


def drawn_words(title: str, told: list[str]) -> dict[str, str]:
    """A card with a title and lines of text, for panels that hold words and fields only."""
    lines = [piece for one in told for piece in textwrap.wrap(one, LETTERS) or [""]]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], "…"]
    text = textwrap.shorten(f"{title}. {'; '.join(told)}", MOST_WORDS, placeholder=" …")
    height = LINE * (len(lines) + 2)
    frame = (
        f'<rect x="1" y="1" width="{drawing.WIDTH - 2}" height="{height - 2}" rx="8" fill="none" '
        f'stroke="{drawing.GREY}" stroke-opacity="0.5"/>'
    )
    parts = [frame, drawing.words(14, LINE + 4, title, more=' font-weight="bold" font-size="14"')]
    parts += [drawing.words(14, LINE * (place + 2) + 6, one) for place, one in enumerate(lines)]
    return bundle_of(text, svg=drawing.svg(parts, height, text))


def words_of(widget: widgets.Widget) -> Iterator[str]:
    """What can be read in a widget and below it, a line each; what is hidden is left out."""
    if widget.layout is not None and widget.layout.display == "none":
        return
    if isinstance(widget, widgets.Tab):
        if widget.selected_index is not None:
            yield from words_of(widget.children[widget.selected_index])
        return
    for child in getattr(widget, "children", ()):
        yield from words_of(child)
    if isinstance(widget, widgets.HTML):
        yield from plain(widget.value)
    elif not isinstance(widget, widgets.Button | widgets.ToggleButton) and hasattr(widget, "value"):
        name, value = getattr(widget, "description", ""), _told(widget)
        if name and value:
            yield f"{name}: {value}"


def _told(widget: widgets.Widget) -> str:
    value = getattr(widget, "label", None) or widget.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def plain(text: str) -> list[str]:
    """The lines of an HTML text as they are read; a picture in it by its label.

    >>> plain("<div>run <b>a-1</b></div><table><tr><td>int8</td><td>0.98</td></tr></table>")
    ['run a-1', 'int8 · 0.98']
    """
    reader = _Reader()
    reader.feed(text)
    lines = [
        re.sub(r"( ·)+", " ·", re.sub(r"\s+", " ", line)).strip(" ·")
        for line in "".join(reader.found).split("\n")
    ]
    return [line for line in lines if line]


class _Reader(HTMLParser):
    """Collects text; of a style sheet nothing, of what is marked as a picture its label alone."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if not self._silent:
            label = known.get("aria-label") or known.get("alt")
            words = f"{label} · " if label else ""  # what follows may be another picture
            self.found.append("\n" * (tag in BREAKS) + " · " * (tag in ("td", "th")) + words)
        if tag not in VOID and (self._silent or tag == "style" or known.get("role") == "img"):
            self._silent += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        self._silent = max(0, self._silent - 1)
        if tag in BREAKS:
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


class StillOutput:
    """The output beside a displayed panel that holds its still picture.

    It is an output of its own, so that a page which shows the panel is not drawn anew when the picture changes. It is
    renewed after each cell, and when a panel says so: ``mark()`` is what tells whether it has changed, ``make()`` draws.
    """

    def __init__(self, make: Callable[[], dict[str, str]], mark: Callable[[], Any]):
        self._make, self._mark = make, mark
        self._id = f"lepton-still-{uuid.uuid4().hex}"
        self._shown_mark: Any = None
        self._shown: dict[str, str] | None = None
        self._lock = threading.Lock()

    def show(self) -> None:
        """Put the picture below what the cell has shown, and keep it true from now on."""
        from IPython.display import display

        self._shown_mark, self._shown = self._mark(), self._make()
        display(self._shown, raw=True, display_id=self._id)
        _watched.add(self)
        _watch_cells()

    def renew(self) -> bool:
        """Replace the picture where it is displayed, if another is due; True if it was."""
        from IPython.display import update_display

        with self._lock:
            if self._shown is None or (mark := self._mark()) == self._shown_mark:
                return False
            self._shown_mark, made = mark, self._make()
            if made == self._shown:
                return False
            self._shown = made
        # Under the cell that runs now, whichever thread calls: who executes a notebook from outside hears only that one.
        contextvars.Context().run(update_display, made, raw=True, display_id=self._id)
        return True


_watched: weakref.WeakSet[StillOutput] = weakref.WeakSet()
_watching: weakref.WeakSet[Any] = weakref.WeakSet()


def _watch_cells() -> None:
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and shell not in _watching:
        _watching.add(shell)
        shell.events.register("post_run_cell", lambda _result=None: renew_displayed())


def renew_displayed() -> None:
    """Bring the still pictures of all displayed panels up to date; one that can't be drawn is logged, and stays."""
    for one in list(_watched):
        try:
            one.renew()
        except Exception as failure:
            log.warning("a panel's still picture could not be renewed: %s", failure, exc_info=True)


def title_of(name: str) -> str:
    """The name of a class as a title.

    >>> title_of("DataModelPanel"), title_of("InputForm")
    ('Data model', 'Input form')
    """
    pieces = re.findall(r"[A-Z][a-z]*", name.removesuffix("Panel"))
    return " ".join(pieces).capitalize()
