"""What a run looks like to a reader: a pure reducer over its events, fed only with what is new."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.rundir.energy import Taken
from lepton_kit.rundir.events import EventReader
from lepton_kit.rundir.fields import WRONG, check
from lepton_kit.rundir.line import place_told
from lepton_kit.rundir.moves import Moves
from lepton_kit.rundir.predictions import Predictions
from lepton_kit.rundir.ranks import Ranks
from lepton_kit.rundir.series import Series
from lepton_kit.rundir.status import Status

RESOURCES = ("step", "cores", "memory_bytes", "gpu", "gpu_memory_bytes")
RATE_WINDOW_SECONDS = 8.0
"""Throughput and time left are averaged over the last reports within this time."""
NORMS_KEPT = 500
PREDICTIONS_KEPT = 8
"""So many, for a return to a checkpoint drops those after it."""


class RunView:
    """The state of a run and its curves, built from events.

    `step_series` holds one value per step; `metric_series`, `throughput` and `world_size` one value per report
    (their steps are in `report_steps`). Throughput is in samples/s.
    """

    def __init__(self, events: Path | None = None):
        self._reader = EventReader(events) if events is not None else None
        self.status = Status.CREATED
        self.cause: str | None = None
        self.abandoned = False
        """Its driver has gone without a word, as whoever holds this view has found out: the log can't tell."""
        self.in_line: str | None = None
        self._gave_back = False
        """Of a run that waits in line: its place, and how long that may take, in words."""
        self.driver_pid: int | None = None
        self.plan: dict[str, Any] = {}
        self.moves = Moves()
        self.workers: list[dict[str, Any]] = []
        self.last_workers: list[dict[str, Any]] = []
        """Those that there were when one trained last; they are what is to be told of a run that has ended."""
        self.wanted: int | None = None
        self.hosts: list[dict[str, Any]] = []
        """Hosts of a run that has some: state, slots, and what each does that the run waits for."""
        self.generations: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.incidents: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.warnings: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []
        self.checkpoints: list[dict[str, Any]] = []
        self.predictions: deque[Predictions] = deque(maxlen=PREDICTIONS_KEPT)
        """What the model said of the validation split after the last epochs."""
        self.energy = Taken()
        self.doing: str | None = None
        """What a compression said last that it does."""
        self.sparsity: dict[str, float] = {}
        self.total_sparsity: float | None = None
        self.learning_rate: float | None = None
        self.step = 0
        self.misfits = 0
        """Events that were passed over because their fields are not those of their kind."""
        self.first_time: float | None = None
        self.last_time: float | None = None
        self._passed = 0.0
        self.ranks = Ranks()
        """Where the time of each rank goes, and which one holds the others up."""
        self.recuts: list[dict[str, Any]] = []
        """When batches began to be cut otherwise: step, weights, gain that was promised, and ``measured`` once it was."""
        self.step_series = {
            "step": Series(np.int64),
            "epoch": Series(np.int64),
            "loss": Series(),
            "time": Series(),
        }
        self.report_steps = Series(np.int64)
        self.report_throughput = Series()
        self.report_world_size = Series(np.int64)
        self.metric_series: dict[str, Series] = {}
        self.sparsity_series = (Series(np.int64), Series())
        self.resource_series = {name: Series() for name in RESOURCES}
        """What all workers took of the machine: at which step, cores, bytes, and of GPUs the mean load and bytes."""
        self.norms: deque[list[float]] = deque(maxlen=NORMS_KEPT)
        """Squared norms of gradients, as `lepton_kit.planning.noise` reads them; the last ones."""
        self.accumulated = 1
        """Batches that an update of the optimizer takes together."""
        self._recent: deque[tuple[float, float, int, int]] = deque()

    def refresh(self) -> bool:
        """Read what was appended since the last call; True if there was anything."""
        any_new = False
        for event in self._reader.stream() if self._reader else ():
            any_new = True
            try:
                self.feed(event)
            except WRONG:
                self.misfits += 1
        return any_new

    def feed(self, event: dict[str, Any]) -> None:
        """Apply one event; unknown kinds are passed over, so that newer logs stay readable.

        Raises one of `WRONG`, and changes nothing, where its fields are not those of its kind.
        """
        check(event)
        if self.first_time is None:
            self.first_time = self.last_time = event["time"]
        self._passed += max(
            0.0, event["time"] - self.last_time
        )  # a later driver may have found the clock set back
        self.last_time = event["time"]
        apply = getattr(self, f"_on_{event['kind']}", None)
        if apply is not None:
            apply(event)

    @property
    def steps(self) -> np.ndarray:
        """Step numbers, int64, shape ``(steps,)``."""
        return self.step_series["step"].array

    @property
    def loss(self) -> np.ndarray:
        """Loss of each step's global batch, shape ``(steps,)``."""
        return self.step_series["loss"].array

    @property
    def time(self) -> np.ndarray:
        """When each step ended, in seconds since 1970: its report's time, spread evenly over the report's steps."""
        return self.step_series["time"].array

    @property
    def throughput(self) -> np.ndarray:
        """Samples per second of each report."""
        return self.report_throughput.array

    @property
    def per_rank_throughput(self) -> dict[int, float]:
        """Samples that each rank computes a second, over the last seconds; NaN of one that has none to compute."""
        return {row.rank: row.samples_per_second for row in self.ranks.times()}

    @property
    def world_size(self) -> int:
        """Workers that train now; 0 when the run is over, or has given them back and waits for its turn."""
        none = not self.generations or self.done or self._gave_back
        return 0 if none else len(self.generations[-1]["ranks"])

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """Values of the compiled metrics, by name, one for each report."""
        return {name: series.array for name, series in self.metric_series.items()}

    @property
    def seconds(self) -> float | None:
        """Time from the first event to the last."""
        return None if self.first_time is None else round(self._passed, 1)

    @property
    def state(self) -> Status:
        """Its status; interrupted where its driver was found to be gone."""
        return Status.INTERRUPTED if self.abandoned and not self.status.is_over else self.status

    @property
    def done(self) -> bool:
        """Whether no process of the run is left: it has said so, or was found to be abandoned."""
        return self.state.is_over

    @property
    def total_steps(self) -> int | None:
        """Steps that the run is to make; None where that is not known."""
        return self.plan.get("total_steps")

    @property
    def progress(self) -> float:
        """Share of all steps that are done, 0 to 1."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0

    @property
    def current_throughput(self) -> float | None:
        """Samples/s over the last seconds, or None before the first report."""
        seconds = sum(item[1] for item in self._recent)
        return sum(item[2] for item in self._recent) / seconds if seconds > 0 else None

    @property
    def eta_seconds(self) -> float | None:
        """Seconds of training left at the current rate; None while unknown."""
        seconds, steps = sum(item[1] for item in self._recent), sum(item[3] for item in self._recent)
        if self.done or not self.total_steps or steps <= 0:
            return None
        return (self.total_steps - self.step) * seconds / steps

    def summary(self) -> dict[str, Any]:
        """What a list of runs shows: workers, step, total_steps, loss, metrics, val_…, seconds, energy or why there is none.

        Loss and metrics are the last epoch's, before its end those of the last report; workers are those of the last
        generation, once there is one.
        """
        figures: dict[str, Any] = {"loss": float(self.loss[-1]) if len(self.loss) else None}
        if self.epochs:
            figures |= {
                name: value
                for name, value in self.epochs[-1].items()
                if name not in ("epoch", "step", "seconds")
            }
        else:
            figures |= {name: float(values[-1]) for name, values in self.metrics.items() if len(values)}
        workers = {"workers": len(self.generations[-1]["ranks"])} if self.generations else {}
        return {
            **workers,
            "step": self.step,
            "total_steps": self.total_steps,
            **figures,
            "seconds": self.seconds,
            **self.energy.summary(),
        }

    @property
    def awaited(self) -> str:
        """What the run waits for on which host, such as ``gpu-box: loading TensorFlow``; empty if for nothing."""
        doing = [f"{one['host']}: {one['doing']}" for one in self.hosts if one.get("doing")]
        return "" if self.done else " · ".join(doing)

    def counts(self) -> dict[str, int]:
        """How many workers are wanted, starting, standby and training."""
        states = [] if self.done else [worker["state"] for worker in self.workers]
        return {"wanted": self.wanted or 0} | {
            name: states.count(name) for name in ("starting", "standby", "training")
        }

    def _on_status(self, event: dict[str, Any]) -> None:
        self.status, self.cause = Status(event["status"]), event.get("cause")
        self.driver_pid = event.get("driver_pid", self.driver_pid)
        self.moves.begin(event.get("places"), len(self.requests))
        if self.status is not Status.QUEUED:
            self.in_line = None
        else:
            self._gave_back = True
            self._recent.clear()

    def _on_queue(self, event: dict[str, Any]) -> None:
        self.in_line = place_told(event["before"], event["wait_seconds"], event["why"])

    def _on_plan(self, event: dict[str, Any]) -> None:
        self.plan = event

    def _on_workers(self, event: dict[str, Any]) -> None:
        self.workers, self.wanted = event["workers"], event["wanted"]
        if any(worker["state"] == "training" for worker in self.workers):
            self.last_workers = self.workers

    def _on_hosts(self, event: dict[str, Any]) -> None:
        self.hosts = event["hosts"]

    def _on_generation(self, event: dict[str, Any]) -> None:
        self.generations.append(event)
        self._gave_back = False
        hosts = {one.get("host") for one in self.workers if one.get("rank") is not None}
        self.ranks.begin(event["step"], over_network=len(hosts) > 1)
        self._recent.clear()
        self._rewind(event["step"])

    def _rewind(self, step: int) -> None:
        """A resume or a recovery repeats steps after a commit: what they had shown before is dropped."""
        keep = int(np.searchsorted(self.steps, step))
        for series in self.step_series.values():
            series.truncate(keep)
        reports = int(np.searchsorted(self.report_steps.array, step, side="right"))
        for report in (
            self.report_steps,
            self.report_throughput,
            self.report_world_size,
            *self.metric_series.values(),
        ):
            report.truncate(reports)
        measured = int(np.searchsorted(self.resource_series["step"].array, step, side="right"))
        for series in self.resource_series.values():
            series.truncate(measured)
        self.epochs = [epoch for epoch in self.epochs if epoch["step"] <= step]
        while self.predictions and self.predictions[-1].step > step:
            self.predictions.pop()
        while self.norms and self.norms[-1][0] >= step:
            self.norms.pop()
        self.step = min(self.step, step)  # a generation may start after steps that are yet to be told

    def _on_steps(self, event: dict[str, Any]) -> None:
        first, last, seconds = event["first"], event["last"], event["seconds"]
        count = last - first
        steps = np.arange(first, last)
        per_epoch = self.plan.get("steps_per_epoch") or last
        self.step_series["step"].extend(steps)
        self.step_series["epoch"].extend(steps // per_epoch)
        self.step_series["loss"].extend([np.nan if loss is None else loss for loss in event["loss"]])
        self.step_series["time"].extend(event["time"] - seconds * (1 - (np.arange(count) + 1) / count))
        samples = sum(event["samples"])
        self.energy.trained(event["time"] - seconds, event["time"], samples)
        self.report_steps.extend([last])
        self.report_throughput.extend([samples / seconds if seconds > 0 else np.nan])
        self.report_world_size.extend([event["world_size"]])
        for name, value in event["metrics"].items():
            series = self.metric_series.setdefault(name, Series())
            missing = len(self.report_steps) - 1 - len(series)
            series.extend([np.nan] * missing + [np.nan if value is None else value])
        self.ranks.report(event)
        self.norms.extend(event.get("norms", ()))
        self.accumulated = event.get("accumulated", 1)
        self.learning_rate = event.get("learning_rate", self.learning_rate)
        self.step = last
        self._recent.append((event["time"], seconds, samples, count))
        while len(self._recent) > 1 and abs(event["time"] - self._recent[0][0]) > RATE_WINDOW_SECONDS:
            self._recent.popleft()

    def _on_weights(self, event: dict[str, Any]) -> None:
        self.recuts.append({name: event[name] for name in ("step", "weights", "gain")})

    def _on_gained(self, event: dict[str, Any]) -> None:
        if self.recuts:
            self.recuts[-1]["measured"] = event["measured"]

    def _on_epoch(self, event: dict[str, Any]) -> None:
        row = {
            "epoch": event["epoch"],
            "step": event["step"],
            "seconds": event["seconds"],
            **event["metrics"],
        }
        row |= {f"val_{name}": value for name, value in (event.get("validation") or {}).items()}
        self.epochs.append(row)
        self.energy.ended(event)

    def _on_predictions(self, event: dict[str, Any]) -> None:
        self.predictions.append(Predictions.of(event))

    def _on_compression(self, event: dict[str, Any]) -> None:
        self.sparsity, self.total_sparsity = event["sparsity"], event["total"]
        steps, totals = self.sparsity_series
        steps.extend([event["step"]])
        totals.extend([event["total"]])

    def _on_checkpoint(self, event: dict[str, Any]) -> None:
        self.checkpoints.append(event)

    def _on_resources(self, event: dict[str, Any]) -> None:
        self.ranks.load(event)
        for name, series in self.resource_series.items():
            value = event.get(name)
            series.extend([np.nan if value is None else value])

    def _on_energy(self, event: dict[str, Any]) -> None:
        self.energy.feed(event)

    def _on_request(self, event: dict[str, Any]) -> None:
        self.requests.append({**event, "step": self.step})  # the last step that was told when it was asked

    def _on_incident(self, event: dict[str, Any]) -> None:
        self.incidents.append(event)

    def _on_warning(self, event: dict[str, Any]) -> None:
        self.warnings.append(event)

    def _on_output(self, event: dict[str, Any]) -> None:
        self.outputs.append(event)

    def _on_progress(self, event: dict[str, Any]) -> None:
        self.doing = event["text"]


def main_metric(names: list[str]) -> str | None:
    """The metric worth a plot of its own: balanced accuracy, an accuracy, else the first that is not the loss.

    >>> main_metric(["loss", "mae", "sparse_categorical_accuracy"])
    'sparse_categorical_accuracy'
    >>> main_metric(["accuracy", "balanced_accuracy"])
    'balanced_accuracy'
    """
    shown = [name for name in names if name != "loss" and not name.endswith("_loss")]
    accuracies = [name for name in shown if "acc" in name.lower()]
    return min(accuracies or shown, key=lambda name: "balanced" not in name.lower(), default=None)
