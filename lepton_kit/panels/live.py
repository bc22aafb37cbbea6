"""The live view of a run: a pure reader of its folder that draws what was appended."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.panels import telling
from lepton_kit.panels.announce import Announcer
from lepton_kit.panels.background import Background
from lepton_kit.panels.figure import LiveFigure, static_figure
from lepton_kit.panels.parts import Panel, card, framed, note, set_html
from lepton_kit.panels.picture import picture_text
from lepton_kit.panels.presence import Presence
from lepton_kit.panels.pump import Pump
from lepton_kit.panels.sentences import announced, sentence, words_beside
from lepton_kit.panels.still import bundle_of, renew_displayed
from lepton_kit.rundir import Status
from lepton_kit.rundir.paths import RunPaths
from lepton_kit.rundir.view import RunView

FASTEST_SECONDS = 0.5
"""Plots move at most twice a second: faster costs the kernel and the page much and shows little more."""
QUIET_SECONDS = 3.0
"""A run under way that logs nothing for so long is asked whether its driver still lives."""
REPEAT_SECONDS = (1.0, 4.0, 12.0)
"""When all curves are sent again to a page that has just begun to show the panel."""
RESUME_SECONDS = 60.0
"""How long a run that had ended may take to come back after `resumed`."""


class LivePanel(Panel):
    """Loss, metric, throughput, workers and incidents of one run, from its first step on.

    Several panels, in several notebooks, may follow the same run. Closing one does nothing to the run.
    """

    def __init__(self, run: Any = None):
        super().__init__()
        self.run: Any = None
        self.seen: RunView | None = None
        self._context = contextvars.copy_context()
        self._pump: Pump | None = None
        self._listeners: list[Callable[[RunView], None]] = []
        self._presence = Presence(self._arrived)
        self._hope_until = 0.0
        self._last_news = 0.0
        self._repeat_at: list[float] = []
        self._failing = False
        self.interrupted = False
        self._stale = False
        self._lock = threading.RLock()
        self.summary = note("No run yet. Press <b>Start</b>, or attach to one under <b>Runs</b>.")
        self.in_words = note()
        self.heard = Announcer()
        self.workers_table = note()
        self.incidents = note()
        for part, name in (
            (self.summary, "lk-summary"),
            (self.workers_table, "lk-workers"),
            (self.incidents, "lk-log"),
        ):
            part.add_class(name)
        self.figure: LiveFigure | None = None
        self._building = Background(lambda _: LiveFigure(), self._built)
        self._place = widgets.VBox(
            [], layout=widgets.Layout(width="100%", overflow="hidden", margin="6px 0 0 0")
        )
        self._place.add_class("lk-figure")
        self.view = framed(
            card(
                "Live view",
                self.problem,
                self.summary,
                self._place,
                self.in_words,
                self.workers_table,
                self.incidents,
                self.heard,
            )
        )
        self._building.start()
        if run is not None:
            self.attach(run)

    def __repr__(self) -> str:
        if self.run is None:
            return "<LivePanel: no run>"
        return f"<LivePanel: {self.run.id}, {self.state}>"

    @property
    def state(self) -> Status | None:
        """The run's status, or ``interrupted`` if its driver has died; None without a run."""
        if self.seen is None:
            return None
        return Status.INTERRUPTED if self.interrupted else self.seen.status

    def still(self) -> dict[str, str]:
        if self.seen is None:
            return super().still()
        with self._lock:  # the pump's thread feeds the view
            picture = picture_text(self.seen)
            told = sentence(self.seen, self.run.id, self.state)
        return super().still() if picture is None else bundle_of(told, png=picture)

    def still_mark(self) -> Any:
        if self.seen is None:
            return None
        self.update()
        return self.run.id, self.state, self.seen.step

    def on_update(self, listener: Callable[[RunView], None]) -> None:
        """Call ``listener(view)`` after every change of the run that the panel has seen."""
        self._listeners.append(listener)

    def attach(self, run: Any) -> None:
        """Follow a run, with every point from its first step."""
        self.detach()
        self.run = run
        self.interrupted = False
        self._last_news = time.monotonic()
        self._presence.hear()
        self.seen = RunView(RunPaths(Path(run.directory)).events)
        self.seen.refresh()
        self.complain(None)
        self.interrupted = not self.seen.done and self.seen.status is not Status.CREATED and not run.alive
        self.update(force=True)
        if not self.seen.done:
            self.follow()

    def follow(self) -> None:
        """Tick until the run has ended."""
        if self._pump is None or not self._pump.running:
            self._pump = Pump(self._tick, fastest=FASTEST_SECONDS, context=self._context)
            self._pump.start()

    def resumed(self) -> None:
        """A run that had ended was asked to go on: wait for it, and follow it again."""
        self._hope_until = time.monotonic() + RESUME_SECONDS
        self.follow()

    def detach(self) -> None:
        """Follow no run any more; what is shown stays."""
        if self._pump is not None:
            self._pump.stop()
            self._pump = None

    def ready(self, timeout: float | None = 60.0) -> LivePanel:
        """Wait until the plots are built; the rest of the panel does not wait for them."""
        self._building.result(timeout)
        return self

    @property
    def following(self) -> bool:
        return self._pump is not None and self._pump.running

    def update(self, force: bool = False) -> bool:
        """Read what is new and show it; True if there was anything new."""
        with self._lock:
            changed = self.seen.refresh() or force
            changed |= self._check_driver(changed)
            self._stale |= changed
            if self._stale and (force or self.seen.done or self._presence.may_send()):
                self._show()
                self._stale = False
        if changed:
            for listener in self._listeners:
                listener(self.seen)
        return changed

    def _check_driver(self, changed: bool) -> bool:
        """Notice a driver that died without a word, and one that came back; True if that is new."""
        now, before = time.monotonic(), self.interrupted
        if changed:
            self._last_news = now
        if self.seen.done or (changed and not before):
            self.interrupted = False
        elif now - self._last_news > QUIET_SECONDS or before:
            self.interrupted = not self.run.alive
        return self.interrupted != before

    def plotly(self) -> Any:
        """The plots as a plain plotly `Figure`, to restyle or save."""
        with self._lock:
            return static_figure(self.seen if self.seen is not None else RunView())

    def close(self) -> None:
        self.detach()
        self._building.join()
        super().close()

    def _arrived(self) -> None:
        """A page has begun to show the panel. It loads plotly for seconds, and may miss what is sent meanwhile."""
        self._presence.hear()
        now = time.monotonic()
        self._repeat_at = [now + seconds for seconds in REPEAT_SECONDS]
        if self.seen is not None:
            self.follow()

    def _tick(self) -> bool:
        try:
            due = [when for when in self._repeat_at if when <= time.monotonic()]
            if due and self.figure is not None:
                self._repeat_at = [when for when in self._repeat_at if when not in due]
                with self._lock:
                    self.figure.forget()
                    self._stale = True
            self.update()
        except Exception as failure:
            self.complain(failure)
            self._failing = True
            raise
        if self._failing:
            self.complain(None)
            self._failing = False
        goes_on = not self.seen.done or bool(self._repeat_at) or time.monotonic() < self._hope_until
        if not goes_on:
            renew_displayed()
        return goes_on

    def _show(self) -> None:
        set_html(self.summary, telling.summary(self.seen, self.run.id, self.state))
        set_html(self.in_words, words_beside(self.seen))
        self.heard.text = announced(self.seen, self.run.id, self.state)
        set_html(self.workers_table, telling.workers(self.seen))
        set_html(self.incidents, telling.incidents(self.seen))
        if self.figure is not None:
            self.figure.show(self.seen)
            self.figure.open()
            self._place.children = (self.figure.widget, self._presence.widget)

    def _built(self, figure: LiveFigure | None, failure: BaseException | None) -> None:
        """The plots are ready: importing plotly takes seconds, which neither a cell nor Start waits for."""
        if failure is not None:
            self.complain(failure)
            return
        with self._lock:
            self.figure = figure
            if self.seen is not None:
                self._show()
