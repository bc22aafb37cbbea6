"""The workbench: the small panels together, and the buttons that turn their choices into a run."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.errors import ConfigError
from lepton_kit.panels.background import Background
from lepton_kit.panels.code_box import code_of
from lepton_kit.panels.compression import CompressionPanel
from lepton_kit.panels.data_model import DataModelPanel
from lepton_kit.panels.device import DevicePanel
from lepton_kit.panels.fpga import FpgaPanel
from lepton_kit.panels.hosts import HostsPanel
from lepton_kit.panels.live import LivePanel
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import Panel, column, columns, framed, on_change, send_again
from lepton_kit.panels.places import PlacesPanel
from lepton_kit.panels.planning import PlanPanel
from lepton_kit.panels.pump import Debounced
from lepton_kit.panels.report import ReportPanel
from lepton_kit.panels.runs_list import RunsPanel
from lepton_kit.panels.sharding import ShardingPanel
from lepton_kit.panels.training import TrainingPanel
from lepton_kit.panels.under_way import UnderWay
from lepton_kit.rundir import Status
from lepton_kit.rundir.view import RunView

SCALE_AFTER_SECONDS = 0.4
"""A slider that is dragged asks the run once, when it has rested this long."""
WARM_AFTER_SECONDS = 1.5
PATIENCE_SECONDS = 15.0
"""How long the slider waits for the run to want what was asked, before it shows again what the run wants."""


class Workbench(Panel):
    """Choose data, model, workers and options; Start trains them in their own processes; watch, scale, pause, stop.

    ``Workbench(run=...)`` attaches to a run that exists, by object or id, with every point. ``data`` and ``model``
    may be anything that `lepton_kit.launch` takes. ``panel.run`` is the run that the panel shows.
    """

    def __init__(
        self,
        run: Any = None,
        *,
        data: Any = None,
        model: Any = None,
        runs_dir: str | Path | None = None,
        warm: bool = True,
    ):
        super().__init__()
        self.run: Any = None
        self.runs_dir = runs_dir
        self._asked: dict[str, tuple[float, float]] = {}
        self._reconciling: int | None = None
        self._told_requests = 0
        self._locked: bool | None = None
        self._chosen: tuple[Any, ...] | None = None
        self.data_model = DataModelPanel(data, model)
        self.sharding = ShardingPanel()
        self.training = TrainingPanel()
        self.compression = CompressionPanel()
        self.live = LivePanel()
        self.report = ReportPanel()
        self.fpga = FpgaPanel(on_design=self.report.add)
        self.runs = RunsPanel(runs_dir, on_attach=self.attach)
        self.device = DevicePanel()
        self.hosts = HostsPanel(on_choice=self._hosts_chosen)
        self.places = PlacesPanel(self.sharding.workers.value, self._changed)
        self.plan = PlanPanel(
            ask=lambda: (self.data_model.model, self.data_model.data, self.settings()), use=self.sharding.use
        )
        self.under_way = UnderWay(runs_dir, self.attach)
        self.workers, self.global_batch = self.sharding.workers, self.sharding.global_batch
        training = self.training
        self.start, self.pause, self.resume, self.stop = (
            training.start, training.pause, training.resume, training.stop
        )  # fmt: skip
        self.show_code, self.epochs = training.show_code, training.epochs
        self.learning_rate, self.seed = training.learning_rate, training.seed
        self._scale = Debounced(self._send_scale, SCALE_AFTER_SECONDS)
        self._rate = Debounced(self._send_rate, SCALE_AFTER_SECONDS)
        self._warming = Background(self._warm, lambda _result, _failure: None)
        self._warm_soon = Debounced(self._warming.start, WARM_AFTER_SECONDS)
        self._warm_wanted = warm
        self._connect()
        self.view = self._lay_out()
        self._show_schedule(None)
        self._chosen = self.data_model.choice
        self._data_changed()
        if run is not None:
            self.attach(self._open(run))
        elif warm:
            self._warming.start()

    def __repr__(self) -> str:
        count = self.workers.value
        state = self.run.status if self.run is not None else "idle"
        return f"<Workbench: {count} worker{'' if count == 1 else 's'}, {state}>"

    def still(self) -> dict[str, str]:
        """A picture of what the panel shows now, with words, as a bundle of MIME types."""
        return self.live.still() if self.run is not None else super().still()

    def still_mark(self) -> Any:
        """What a still picture depends on: while it is the same the picture need not be drawn again."""
        return self.live.still_mark() if self.run is not None else super().still_mark()

    def settings(self) -> dict[str, Any]:
        """The keyword arguments of `lepton_kit.launch` that the panels choose."""
        chosen = self.sharding.settings() | self.training.settings() | self.compression.settings()
        return chosen | (self.hosts.settings() or self.places.settings())

    def attach(self, run: Any) -> None:
        """Show a run with its set-up and every point from its first step; the sliders act on it from now on."""
        self._show_run(run)
        with self._unasked(), self.training.reporting():
            config, view = run.config, self.live.seen or RunView()
            self.data_model.show_run(run)
            self.sharding.show_run(config, view.wanted if self.training_now else None)
            self.training.show_run(config, view.learning_rate if self.training_now else None)
            self.compression.show_run(config)
            self.hosts.show_run(config)
            self.hosts.lock(self.training_now)
            self.places.lock(self.training_now)

    def _show_run(self, run: Any) -> None:
        for later in (self._scale, self._rate):
            later.cancel()  # meant for the run before
        self.run = run
        self._asked = {}
        self.under_way.show([])
        self.live.attach(run)
        self._offer(self.live.seen)
        self._follow(self.live.seen)

    @contextmanager
    def _unasked(self) -> Iterator[None]:
        """What this thread sets inside shows what is, and asks for nothing."""
        before, self._reconciling = self._reconciling, threading.get_ident()
        try:
            yield
        finally:
            self._reconciling = before

    def close(self) -> None:
        """Take the panel off the page and give warm processes back; a run goes on without it."""
        import lepton_kit as lk

        for later in (self._scale, self._rate, self._warm_soon):
            later.cancel()
        self.live.detach()
        self._warming.join()
        for one in (self.hosts, self.data_model, self.plan):
            one.close()
        if self._warm_wanted:
            lk.cool()
        super().close()

    def _lay_out(self) -> widgets.Widget:
        right = column(self.sharding.view, self.training.controls, self.plan.view)
        pages = widgets.Tab(
            [
                column(columns(self.data_model.view, right), self.training.code.widget),
                column(columns(self.compression.view, self.fpga.view), self.report.view),
                column(self.runs.view),
                column(self.places.view, self.hosts.view, self.device.view),
            ],
            layout=widgets.Layout(width="100%"),
        )
        pages.titles = ("Set up", "Compress", "Runs", "Machine")
        pages.add_class("lk-pages")
        self.pages = pages
        box = framed(
            self.under_way.view, pages, self.live.view, self.problem, classes=("lk-panel", "lk-workbench")
        )
        box.layout.grid_gap = "10px"
        return box

    def _connect(self) -> None:
        self.start.on_click(lambda _: self._start())
        self.pause.on_click(lambda _: self._ask(lambda run: run.pause()))
        self.stop.on_click(lambda _: self._ask(lambda run: run.stop()))
        self.resume.on_click(lambda _: self._resume())
        on_change(self.show_code, lambda _: self._code())
        on_change(self.workers, self._workers_moved)
        on_change(self.learning_rate, self._rate_moved)
        self.data_model.on_update(self._data_changed)
        self.training.on_name(self._data_changed)
        for one in self._numbers():
            one.observe(lambda _: self._data_changed(), names=["wrong", "problem"])
        self.live.on_update(self._follow)
        self.live.on_arrival(lambda: send_again(self.view))

    def _numbers(self) -> list[Number]:
        """The fields whose error keeps Start from starting."""
        owners = (self.data_model, self.sharding, self.training, self.compression)
        return [one for owner in owners for one in vars(owner).values() if isinstance(one, Number)]

    @property
    def training_now(self) -> bool:
        """True while the shown run has processes."""
        return self.run is not None and self.live.state is not None and not self.live.state.is_over

    def _open(self, run: Any) -> Any:
        import lepton_kit as lk

        return lk.open_run(run, runs_dir=self.runs_dir) if isinstance(run, str | Path) else run

    def _start(self) -> None:
        import lepton_kit as lk

        if self.training_now:
            return
        self.training.enable(Status.CREATED, busy=True)
        try:
            with self.training.reporting(), self._beside_its_field():
                run = lk.launch(
                    self.data_model.model, self.data_model.data, runs_dir=self.runs_dir, **self.settings()
                )
                self._show_run(run)
                self.runs.refresh()
        finally:
            if not self.training_now:
                self._follow(self.live.seen)
                self._data_changed()  # fields are held against their bounds again, now that they are no longer grey

    @contextmanager
    def _beside_its_field(self) -> Iterator[None]:
        """A setting that a launch refuses is said beside the field that it was chosen in, where there is one."""
        try:
            yield
        except ConfigError as failure:
            name = failure.field.split(".")[-1]
            owners = (self.data_model, self.sharding, self.training, self.compression)
            fields = [getattr(owner, name, None) for owner in owners]
            field = next((one for one in fields if isinstance(one, Number)), None)
            if field is None:
                raise
            field.problem = str(failure)

    def _resume(self) -> None:
        over = self.live.state is not None and self.live.state.is_over
        self._ask(lambda run: run.resume())
        if over and not self.training.complaint:
            self.live.resumed()

    def _ask(self, request: Any) -> None:
        with self.training.reporting():
            if self.run is not None:
                request(self.run)

    def _workers_moved(self, workers: int) -> None:
        if self._reconciling == threading.get_ident():
            return
        if self.training_now:
            self._asked["workers"] = (workers, time.monotonic())
            self._scale(workers)
        else:
            self._changed()

    def _send_scale(self, workers: int) -> None:
        with self.sharding.reporting():
            if self.training_now:
                self.run.scale(workers)

    def _rate_moved(self, _: float) -> None:
        if self._reconciling != threading.get_ident() and self.training_now:
            self._asked["rate"] = (self.training.rate, time.monotonic())
            self._rate(self.training.rate)

    def _send_rate(self, rate: float) -> None:
        with self.training.reporting():
            if self.training_now:
                self.run.set(learning_rate=rate)

    def _know_model(self) -> None:
        known = self.data_model.waits_for is None
        self.places.know(self.workers.value, self.data_model.model if known else None)

    def _data_changed(self) -> None:
        self._know_model()
        waits_for = self.data_model.waits_for
        if waits_for is None:
            found = self.data_model.prepared
            self.sharding.know(None if found is None else len(found.train))
            refused = [one.description for one in self._numbers() if one.refusal and not one.disabled]
            waits_for = f"see {refused[0]}" if refused else self.training.waits_for
        self.training.hold(waits_for)
        if waits_for is None and self._chosen != self.data_model.choice:
            self._chosen = self.data_model.choice
            self._changed()
        elif self.show_code.value:
            self._code()  # hidden while the data are read, back when they are the same as before

    def _hosts_chosen(self) -> None:
        self.sharding.stand_on(self.hosts.chosen)
        if self._reconciling is None:
            self._changed()

    def _changed(self) -> None:
        self._know_model()
        if self.show_code.value:
            self._code()
        if self._warm_wanted and not self.training_now and not self.hosts.chosen:
            self._warm_soon(None)

    def _warm(self, _: Any) -> None:
        """Have processes ready, so that Start finds them warm; without them a run only starts later."""
        import lepton_kit as lk

        lk.warm(self.data_model.model, self.data_model.data, **self.settings())

    def _code(self) -> None:
        self._told_requests = len(self.live.seen.requests) if self.live.seen is not None else 0
        waits = not self.training_now and self.data_model.waits_for is not None  # which its field says
        if not self.show_code.value or (waits and self.run is None):
            self.training.code.hide()
            return
        with self.training.reporting():
            blocks = []
            if not self.training_now and not waits:
                blocks += self.training.blocks(
                    *code_of(self.data_model.model, self.data_model.data, self.settings()), "the next run"
                )
            if self.run is not None and (self.training_now or waits or self._told_requests):
                whose = "this run" if self.training_now else self.run.id
                blocks += self.training.blocks(self.run.to_config(), self.run.code(), whose)
            self.training.code.show(blocks)

    def _follow(self, view: RunView | None) -> None:
        """Bring buttons, slider and counts in line with what the run is seen to do."""
        self.training.enable(self.live.state)
        running = self.training_now
        self._show_schedule(view if running else None)
        if running != self._locked:
            self._locked = running
            self.data_model.lock(running)
            self.sharding.lock(running)
            self.compression.lock(running)
            self.plan.lock(running)
            self.hosts.lock(running)
            self.places.lock(running)
            if view is not None and not running:
                self.runs.refresh()
                self._offer(view)
        self.hosts.observe(view if running else None)
        self.places.observe(
            view.workers if running and view is not None and not self.run.config.workers.hosts else None
        )
        self.sharding.observe_counts(view.counts() if running and view is not None and view.wanted else None)
        if view is not None and self.show_code.value and len(view.requests) != self._told_requests:
            self._code()
        if running and view is not None:
            self._reconcile(view)

    def _show_schedule(self, view: RunView | None) -> None:
        """No slider where a schedule decides: that of the run under way, else of the model that Start trains."""
        from lepton_kit.client.compiled import rate_decided_by

        if view is not None:
            self.training.show_schedule(self.run.config.schedule, view.learning_rate)
        else:
            self.training.show_schedule(rate_decided_by(self.data_model.given_model))

    def _offer(self, view: RunView | None) -> None:
        """What can be done with a finished run."""
        self.report.offer(self.run, view)
        self.fpga.offer(self.run, view)

    def _reconcile(self, view: RunView | None) -> None:
        """The sliders show what the run wants and has, but do not jump back while a request is on its way."""
        assert view is not None
        with self._unasked():
            wanted, rate = view.wanted, view.learning_rate
            if wanted is not None and self._may_show("workers", wanted, self._scale):
                self.sharding.show_workers(wanted)
            if rate is not None and self._may_show("rate", rate, self._rate):
                self.training.show_rate(rate)

    def _may_show(self, name: str, seen: float, later: Debounced) -> bool:
        """Whether a slider may follow what is seen: nothing was asked that the run may yet obey."""
        if later.waiting:
            return False
        asked, when = self._asked.get(name, (seen, 0.0))
        if not math.isclose(asked, seen, rel_tol=0.01) and time.monotonic() - when < PATIENCE_SECONDS:
            return False
        self._asked.pop(name, None)
        return True
