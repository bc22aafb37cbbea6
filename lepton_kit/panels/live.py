"""The live view of a run: a pure reader of its folder that draws what was appended."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.panels import predicted, telling
from lepton_kit.panels.announce import Announcer
from lepton_kit.panels.held_out import HeldOut
from lepton_kit.panels.parts import Panel, card, framed, note, send_again, set_html
from lepton_kit.panels.picture import picture_text
from lepton_kit.panels.presence import Send
from lepton_kit.panels.pump import Pump
from lepton_kit.panels.run_plots import LiveFigure
from lepton_kit.panels.sentences import announced, sentence, words_beside
from lepton_kit.panels.still import bundle_of, renew_displayed
from lepton_kit.panels.workers_view import WorkersView
from lepton_kit.rundir import Status
from lepton_kit.rundir.paths import RunPaths
from lepton_kit.rundir.predictions import Predictions
from lepton_kit.rundir.view import RunView

FASTEST_SECONDS = 0.5
"""Plots move at most twice a second: faster costs the kernel and the page much and shows little more."""
QUIET_SECONDS = 3.0
"""A run under way that logs nothing for so long is asked whether its driver still lives."""
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
        self._arrivals: list[Callable[[], None]] = []
        self._hope_until = 0.0
        self._last_news = 0.0
        self._failing = False
        self._stale = False
        self._lock = threading.RLock()
        self.summary = note("No run yet. Press <b>Start</b>, or attach to one under <b>Runs</b>.")
        self.in_words = note()
        self.heard = Announcer()
        unseen = widgets.Layout(display="none")
        self.pictures, self.predicted = widgets.HTML(layout=unseen), widgets.HTML()
        self._told: Predictions | None = None
        self.workers = WorkersView(self.complain)
        self.incidents = note()
        for part, name in (
            (self.summary, "lk-summary"),
            (self.incidents, "lk-log"),
        ):
            part.add_class(name)
        self.figure = LiveFigure()
        self.figure.plots.on_arrival = self._arrived
        self._place = widgets.VBox(
            [self.figure.widget],
            layout=widgets.Layout(width="100%", overflow="hidden", margin="6px 0 0 0", display="none"),
        )
        self._place.add_class("lk-figure")
        self.view = framed(
            card(
                "Live view",
                self.problem,
                self.summary,
                self._place,
                self.in_words,
                self.workers.widget,
                widgets.HTML(predicted.STYLE, layout=unseen),
                self.pictures,
                self.predicted,
                self.incidents,
                self.heard,
            )
        )
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
        return self.seen.state

    def still(self) -> dict[str, str]:
        """A picture of what the panel shows now, with words, as a bundle of MIME types."""
        if self.seen is None:
            return super().still()
        with self._lock:  # the pump's thread feeds the view
            picture = picture_text(self.seen)
            told = sentence(self.seen, self.run.id, self.state)
        return super().still() if picture is None else bundle_of(told, png=picture)

    def still_mark(self) -> Any:
        """What a still picture depends on: while it is the same the picture need not be drawn again."""
        if self.seen is None:
            return None
        self.update()
        return self.run.id, self.state, self.seen.step

    def on_update(self, listener: Callable[[RunView], None]) -> None:
        """Call ``listener(view)`` after every change of the run that the panel has seen."""
        self._listeners.append(listener)

    def on_arrival(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` when a page has begun to show the panel, and may have missed what was sent before."""
        self._arrivals.append(listener)

    def attach(self, run: Any) -> None:
        """Follow a run, with every point from its first step."""
        self.detach()
        seen = RunView(RunPaths(Path(run.directory)).events)
        seen.refresh()  # a long log takes seconds: what is shown meanwhile is still the run before
        alive = seen.status.is_over or seen.status is Status.CREATED or run.alive
        if not seen.status.is_over:
            run.hold()
        with self._lock:
            seen.abandoned = not alive
            self.run, self.seen = run, seen
            self._folder, self._held_out = Path(run.directory), HeldOut(Path(run.directory))
            self._last_news = time.monotonic()
            self.figure.plots.presence.hear()
            self.figure.widget.name = run.id
            self._place.layout.display = ""
            self.complain(None)
        self.update(force=True)
        if not seen.status.is_over:
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

    @property
    def following(self) -> bool:
        """Whether the panel ticks."""
        return self._pump is not None and self._pump.running

    def update(self, force: bool = False) -> bool:
        """Read what is new and show it; True if there was anything new."""
        with self._lock:
            if self.seen is None:
                return False
            changed = self._moved() or force
            seen = self.seen
            changed |= seen.refresh()
            changed |= self._check_driver(seen, changed)
            self._stale |= changed
            plan = Send.CHANGES if force or seen.status.is_over else self.figure.plots.plan()
            if self._stale and plan is not Send.NOTHING:
                self._show(seen)
                self._stale = False
                if plan is Send.EVERYTHING:
                    self.figure.plots.send_everything()
        if changed:
            for listener in self._listeners:
                listener(seen)
        return changed

    def _moved(self) -> bool:
        """Read on where the run's folder lies now, if it was renamed or moved while it trains; True if it was."""
        if (folder := Path(self.run.directory)) == self._folder:
            return False
        self._folder, self.seen = folder, RunView(RunPaths(folder).events)
        self._held_out = HeldOut(folder)
        self.figure.widget.name = self.run.id
        return True

    def _check_driver(self, seen: RunView, changed: bool) -> bool:
        """Notice a driver that died without a word, and one that came back; True if that is new."""
        now, before = time.monotonic(), seen.abandoned
        if changed:
            self._last_news = now
        if seen.status.is_over or (changed and not before):
            seen.abandoned = False
        elif now - self._last_news > QUIET_SECONDS or before:
            seen.abandoned = not self.run.alive
        return seen.abandoned != before

    def plotly(self, *, smoothing: float = 0.0, log: bool = False, all_values: bool = False) -> Any:
        """The plots as a plain plotly `Figure`, to restyle or save.

        ``smoothing`` from 0 to below 1 is the weight of a running mean, ``log`` gives logarithmic axes, and
        ``all_values`` shows single values that are far from all others, which an axis otherwise leaves out.
        """
        from lepton_kit.panels.figure import static_figure

        with self._lock:
            seen = self.seen if self.seen is not None else RunView()
            return static_figure(seen, smoothing=smoothing, log=log, all_values=all_values)

    def close(self) -> None:
        """Follow no run any more, and close the widgets."""
        self.detach()
        super().close()

    def _arrived(self) -> None:
        """A page has begun to show the panel, and may have missed anything that was sent while it loaded."""
        send_again(self.view)
        for listener in self._arrivals:
            listener()

    def _tick(self) -> bool:
        try:
            self.update()
        except Exception as failure:
            self.complain(failure)
            self._failing = True
            raise
        if self._failing:
            self.complain(None)
            self._failing = False
        over = self.seen is None or self.seen.status.is_over
        goes_on = not over or time.monotonic() < self._hope_until
        if not goes_on:
            renew_displayed()
        return goes_on

    def _show(self, seen: RunView) -> None:
        set_html(self.summary, telling.summary(seen, self.run.id, self.state, gone=not self._folder.is_dir()))
        set_html(self.in_words, words_beside(seen))
        self.heard.text = announced(seen, self.run.id, self.state)
        self._show_predictions(seen.predictions[-1] if seen.predictions else None)
        self.workers.show(seen, self.run)
        set_html(self.incidents, telling.incidents(seen))
        self.figure.show(seen)

    def _show_predictions(self, now: Predictions | None) -> None:
        """Draw what the model says of the validation split, once for each validation."""
        if now is self._told:
            return
        self._told = now
        samples = now.examples if now is not None else ()
        self._held_out.load(samples)
        set_html(self.pictures, self._held_out.style)
        set_html(self.predicted, predicted.told(now, self._held_out))
