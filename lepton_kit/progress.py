"""Shows a run that a caller waits for: the live panel in a notebook, Keras' progress bar in a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from lepton_kit.drawing import in_notebook
from lepton_kit.rundir.view import RunView

PANEL_SECONDS = 0.5


class Progress:
    """``verbose`` as in Keras: 0 shows nothing, 1 a panel or a bar for each epoch, 2 a line for each epoch."""

    def __init__(self, verbose: int, epochs: int):
        self._verbose, self._epochs = verbose, epochs
        self._panel: Any = None
        self._bar: Any = None
        self._epoch: int | None = None
        self._shown: int | None = None
        self._printed = 0
        self._drawn = 0.0

    def reading(self, done: int, expected: int | None) -> None:
        """Tell how far the reading of the data is, on one line."""
        of = f" of {expected}" if expected else ""
        end = "\n" if done == expected else ""
        print(f"\rreading the data: {done}{of} batches", end=end, flush=True)

    @contextlib.contextmanager
    def of(self, run: Any) -> Iterator[None]:
        """Show this run while the context lasts."""
        if self._verbose == 1 and in_notebook():
            from IPython.display import display

            from lepton_kit.panels import LivePanel

            self._panel = LivePanel(run)
            display(self._panel)
        try:
            yield
        finally:
            if self._panel is not None:
                self._panel.update(force=True)
                self._panel.detach()

    def show(self, view: RunView) -> None:
        """Show what is new."""
        for output in view.outputs[self._printed :]:
            sys.stdout.write(output["text"])
        self._printed = len(view.outputs)
        if self._panel is not None:
            now = time.monotonic()
            if now - self._drawn >= PANEL_SECONDS:
                self._drawn = now
                self._panel.update(force=True)  # a busy kernel does not hear the page
        elif self._verbose and view.plan:
            self._show_bars(view)

    def _show_bars(self, view: RunView) -> None:
        each, first = view.plan["steps_per_epoch"], view.plan.get("first_epoch", 0)
        for row in view.epochs:
            if self._shown is None or row["epoch"] > self._shown:
                self._open(row["epoch"], each)
                self._bar._start = time.time() - row["seconds"]  # the bar may have seen only its end
                self._bar._time_after_first_step = None
                self._bar.update(each, _values(row), finalize=True)
                self._shown = row["epoch"]
        number, within = divmod(view.step, each)
        if within and (self._shown is None or first + number > self._shown):
            self._open(first + number, each)
            losses = view.loss[view.steps >= number * each]
            values = {name: series[-1] for name, series in view.metrics.items() if len(series)}
            if len(losses):
                self._bar.update(within, _values(values | {"loss": float(np.mean(losses))}), finalize=False)

    def _open(self, epoch: int, steps: int) -> None:
        import keras

        if self._epoch == epoch:
            return
        self._epoch = epoch
        if self._epochs > 1:
            print(f"Epoch {epoch + 1}/{self._epochs}", flush=True)
        self._bar = keras.utils.Progbar(steps, verbose=self._verbose, unit_name="step", stateless_metrics=())


def _values(row: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and figures in the order in which Keras shows them."""
    return [(name, row[name]) for name in sorted(row) if name not in ("epoch", "step", "seconds")]
