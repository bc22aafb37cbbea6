"""The training panel: how long and how fast to learn, and the buttons that start, pause and stop a run."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from lepton_kit.config import MOST_EPOCHS, RunSettings
from lepton_kit.errors import ConfigError
from lepton_kit.panels.code_box import CodeBox
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import (
    Panel,
    button,
    card,
    field,
    framed,
    note,
    on_change,
    row,
    set_html,
    show_problem,
)
from lepton_kit.rundir import Status


def allowed(status: Status | None, busy: bool = False) -> dict[str, bool]:
    """Which buttons make sense for a run in this state; None: there is no run.

    >>> allowed(Status.RUNNING)["pause"], allowed(Status.PAUSED)["resume"], allowed(None)["start"]
    (True, True, True)
    """
    over = status is None or status.is_over
    return {
        "start": over and not busy,
        "pause": status in (Status.QUEUED, Status.STARTING, Status.RUNNING),
        "resume": status in (Status.PAUSED, Status.STOPPED, Status.FAILED, Status.INTERRUPTED) and not busy,
        "stop": status is not None and status.is_active and status is not Status.STOPPING,
    }


class TrainingPanel(Panel):
    """Epochs, learning rate and seed; Start, Pause, Resume, Stop; and the code that does the same.

    Alone it holds the settings; inside a `Workbench` its buttons act. The learning rate acts on a running run.
    """

    def __init__(self, epochs: int = 5, learning_rate: float = 1e-3, seed: int = 0, name: str = "run"):
        super().__init__()
        self.epochs = field(
            Number,
            "Epochs",
            "passes over the training split",
            value=epochs,
            layout=widgets.Layout(width="auto"),
            min=1,
            max=MOST_EPOCHS,
            whole=True,
        )
        self.learning_rate = field(
            Number, "Learning rate", "size of the optimizer's steps; during a run it changes at once",
            value=learning_rate, min=1e-7, max=10.0, step=0.05, log=True, digits=3, slided=True,
        )  # fmt: skip
        self.schedule = note("")
        self.schedule.add_class("lk-schedule")
        self.schedule.layout.display = "none"
        self.seed = field(
            Number,
            "Seed",
            "of weights, order, dropout and augmentation",
            value=seed,
            layout=widgets.Layout(width="auto"),
            max=2**32 - 1,
            whole=True,
        )
        self._named: list[Callable[[], None]] = []
        self.name = field(
            widgets.Text, "Name", "first part of the run's id", value=name, continuous_update=False
        )
        on_change(self.name, lambda _: self._check_name())
        self.name_problem = widgets.HTML("", layout=widgets.Layout(display="none"))
        self.start = button("Start", "launch a run with these settings", "success", "play", "80px")
        self.pause = button(
            "Pause", "hold the run after its current step, or back in line", "", "pause", "82px"
        )
        self.resume = button(
            "Resume", "go on, from the last checkpoint if the run had ended", "", "forward", "94px"
        )
        self.stop = button("Stop", "end the run and keep its last checkpoint", "danger", "stop", "76px")
        self.show_code = widgets.ToggleButton(
            value=False, description="Show the code", icon="code", tooltip="the file and the Python that repeat this run",
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.show_code.add_class("lk-show-code")
        self.code = CodeBox()
        self._status: Status | None = None
        self._busy = False
        self._held: str | None = None
        self.state = note("idle")
        self.state.add_class("lk-state")
        self.enable(None)
        self.controls = card(
            "Training", row(self.epochs, self.seed), self.learning_rate, self.schedule, self.name, self.name_problem,
            row(self.start, self.pause, self.resume, self.stop, self.show_code), self.state, self.problem,
        )  # fmt: skip
        self.view = framed(self.controls, self.code.widget)

    def __repr__(self) -> str:
        rate = "by schedule" if self.scheduled else f"{self.learning_rate.value:.3g}"
        return f"<TrainingPanel: {self.epochs.value} epochs, learning rate {rate}>"

    def settings(self) -> dict[str, Any]:
        """The arguments of `lepton_kit.launch` that this panel chooses."""
        rate = {} if self.scheduled else {"learning_rate": self.rate}
        return {"epochs": self.epochs.value, **rate, "seed": self.seed.value, "name": self.name.value}

    @property
    def waits_for(self) -> str | None:
        """Which field must be put right before a run can start; None if none."""
        return f"see {self.name.description}" if self.name_problem.value else None

    def on_name(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` when the name has changed, and has been checked."""
        self._named.append(listener)

    def _check_name(self) -> None:
        try:
            RunSettings.from_dict({"name": self.name.value})
        except ConfigError as failure:
            show_problem(self.name_problem, failure)
        else:
            show_problem(self.name_problem, None)
        for listener in self._named:
            listener()

    @property
    def rate(self) -> float:
        """The slider's value, in as many digits as it shows."""
        return float(f"{self.learning_rate.value:.3g}")

    @property
    def scheduled(self) -> bool:
        """Whether a schedule decides the learning rate, and so no slider does."""
        return bool(self.schedule.layout.display == "")

    def show_run(self, config: Any, rate: float | None) -> None:
        """Show epochs, seed and name of a run, and the learning rate that it has now; None: the one it began with."""
        self.epochs.show(config.training.epochs)
        self.seed.show(config.seed)
        self.name.value = config.name
        self.show_rate(config.training.learning_rate if rate is None else rate)

    def show_rate(self, rate: float | None) -> None:
        """Put the slider where a learning rate is; it reaches as far as it has to."""
        if rate and rate > 0 and not math.isclose(self.rate, rate, rel_tol=0.01):
            self.learning_rate.show(rate)

    def show_schedule(self, schedule: str | None, rate: float | None = None) -> None:
        """Show the optimizer's own schedule, and the rate that it gives now, in place of the slider; None: the slider."""
        now = f", now {rate:.4g}" if rate is not None else ""
        set_html(self.schedule, f"Learning rate: {html.escape(schedule or '')}{now}")
        self.schedule.layout.display = "none" if schedule is None else ""
        self.learning_rate.layout.display = "" if schedule is None else "none"

    def enable(self, status: Status | None, busy: bool = False) -> None:
        """Grey out the buttons that make no sense now."""
        self._status, self._busy = status, busy
        for name, sensible in allowed(status, busy).items():
            getattr(self, name).disabled = not sensible or (name == "start" and self._held is not None)
        running = status is not None and not status.is_over
        for widget in (self.epochs, self.seed, self.name):
            widget.disabled = running or busy
        waits = not running and not busy and self._held is not None
        state = status or "idle"
        told = "starting …" if busy else f"{state}; Start waits: {self._held}" if waits else state
        set_html(self.state, html.escape(told))

    def hold(self, reason: str | None) -> None:
        """Keep Start disabled, and say why; None lets it go."""
        self._held = reason
        self.enable(self._status, self._busy)

    def blocks(self, yaml: str, python: str, whose: str) -> list[tuple[str, str, str]]:
        """The file and the Python that repeat a run, as `CodeBox` shows them."""
        name = self.name.value or "run"
        return [
            (f"Python of {whose}", python, f"{name}.py"),
            (f"File of {whose}: lepton run {name}.yaml", yaml, f"{name}.yaml"),
        ]
