"""Plots on a page that can't be left behind: the widget holds all points, a page draws what it holds and says which version."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lepton_kit.panels.presence import Presence, Send

PAGE = ("plots_draw.js", "plots_save.js", "plots.js")


@dataclass(frozen=True)
class PlotCurve:
    """One curve of a plot. ``format`` says how its values read: a figure, a share, a count, bytes, cores, samples/s."""

    name: str
    label: str
    color: str
    kind: Literal["line", "dots", "steps", "bars"] = "line"
    format: Literal["figure", "share", "count", "rate", "bytes", "cores"] = "figure"
    dash: bool = False
    optional: bool = False
    """Named only once it has a point."""


@dataclass(frozen=True)
class Plot:
    """One plot: ``span`` of 6 columns wide, ``height`` in pixels; ``range`` fixes the upright axis."""

    name: str
    title: str
    curves: tuple[PlotCurve, ...]
    span: int = 2
    height: int = 190
    x: str = "step"
    zero: bool = True
    """The upright axis begins at 0 if no value is below."""
    log: bool = True
    """May have a logarithmic axis."""
    whole: bool = False
    """Only whole numbers stand at the upright axis."""
    range: tuple[float, float] | None = None
    optional: bool = False
    """Shown only once a curve has a point."""


class Plots:
    """A widget with plots whose curves are set with `show`; every page that shows it comes to draw all of them.

    Its state is absolute: each `show` sends the curves that changed as they are now, with the next version. A page that
    sees a version skipped, or that says it has drawn only an old one (`Presence.behind`), gets everything; so does one
    that arrives, and then ``on_arrival()`` is called. ``whole`` is the last version that was sent with everything.
    """

    def __init__(
        self, plots: Sequence[Plot], on_arrival: Callable[[], None] = lambda: None, name: str = "plots"
    ):
        self.names = tuple(curve.name for plot in plots for curve in plot.curves)
        self.widget = _widget(self.names)
        self.widget.name = name
        self.presence = Presence()
        self.on_arrival = on_arrival
        self._lock = threading.RLock()
        self._curves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.widget.plots = [asdict(plot) for plot in plots]
        self.widget.on_msg(lambda _widget, content, _buffers: self.hear(content))

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The points of a curve as they were last shown."""
        return self._curves.get(name, (np.empty(0), np.empty(0)))

    def show(
        self,
        curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
        *,
        limits: Mapping[str, tuple[float, float, int]] | None = None,
        plots: Sequence[Plot] | None = None,
    ) -> bool:
        """Bring some curves up to date; True if anything was new, and only then something is sent.

        ``limits`` are the ends of a plot's upright axis where it leaves out so many far values, by the plot's name.
        """
        with self._lock:
            changes: dict[str, Any] = {}
            for name, (x, y) in curves.items():
                packed = pack(x, y)
                if packed != getattr(self.widget, f"curve_{name}"):
                    changes[f"curve_{name}"] = packed
                    self._curves[name] = (x, y)
            if plots is not None:
                changes["plots"] = [asdict(plot) for plot in plots]
            if limits is not None:
                changes["limits"] = {name: list(ends) for name, ends in limits.items()}
            changes = {name: value for name, value in changes.items() if getattr(self.widget, name) != value}
            if not changes:
                return False
            with self._sending():
                for name, value in changes.items():
                    setattr(self.widget, name, value)
                self.widget.version += 1
            return True

    def plan(self) -> Send:
        """What is worth sending to the pages now."""
        return self.presence.plan()

    def send_everything(self) -> None:
        """Send the whole state, for a page that may have missed some of it."""
        with self._lock, self._sending():
            self.widget.whole = self.widget.version + 1
            self.widget.version += 1
            self.widget.send_state()  # at once and whole; what is held back only repeats it

    def hear(self, content: Mapping[str, Any]) -> None:
        """A word of a page: it has arrived, has drawn a version, or has missed one."""
        self.presence.hear()
        kind, drawn = content.get("kind"), content.get("version", -1)
        if kind in ("arrived", "missed") or (isinstance(drawn, int) and self.presence.behind(drawn)):
            self.send_everything()
        if kind == "arrived":
            self.on_arrival()

    def close(self) -> None:
        """Take the plots off the page."""
        self.widget.close()

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        """Changes inside go out as one message; that they do is noted."""
        with self.widget.hold_sync():
            yield
        self.presence.sent(self.widget.version)


def pack(x: Any, y: Any) -> bytes:
    """A curve as its page reads it: float32, all x and then all y.

    >>> len(pack([1, 2], [0.5, 0.25]))
    16
    """
    return np.concatenate([np.asarray(x, np.float32), np.asarray(y, np.float32)]).tobytes()


def _widget(names: Sequence[str]) -> Any:
    """A widget with one trait a curve: only what changed goes out."""
    import anywidget
    import traitlets

    here = Path(__file__).parent
    traits: dict[str, Any] = {
        "_esm": "\n".join((here / file).read_text(encoding="utf-8") for file in PAGE),
        "_css": (here / "plots.css").read_text(encoding="utf-8"),
        "plots": traitlets.List().tag(sync=True),
        "limits": traitlets.Dict().tag(sync=True),
        "version": traitlets.Int(0).tag(sync=True),
        "whole": traitlets.Int(-1).tag(sync=True),
        "name": traitlets.Unicode().tag(sync=True),
    }
    traits |= {f"curve_{name}": traitlets.Bytes(b"").tag(sync=True) for name in names}
    return type("PlotsWidget", (anywidget.AnyWidget,), traits)()
