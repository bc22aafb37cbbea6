"""`Run`: what a notebook, a script or a shell holds of a run; it only reads the run's folder and leaves requests there."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_kit.client import resuming, watching
from lepton_kit.client.alerting import Alerts, Notify
from lepton_kit.client.asking import AskedRun
from lepton_kit.client.resuming import AS_IT_WAS
from lepton_kit.client.script import absolute, as_python, with_changes
from lepton_kit.data import Dataset
from lepton_kit.data.frozen import open_frozen, with_data
from lepton_kit.errors import LeptonError, RunError, writing
from lepton_kit.models import trust as trusted
from lepton_kit.rundir import RunPaths, Status, find_run
from lepton_kit.rundir.alerts import STALL_SECONDS
from lepton_kit.rundir.events import EventReader
from lepton_kit.rundir.paths import write_atomically
from lepton_kit.rundir.predictions import Predictions
from lepton_kit.rundir.reading import read_text
from lepton_kit.rundir.told import describe
from lepton_kit.rundir.trash import check_in_place
from lepton_kit.runtime.folder import begin

if TYPE_CHECKING:
    import pandas as pd

    from lepton_kit.deploy.modelcard.card import ModelCard
    from lepton_kit.deploy.predict import Predictor

POLL_SECONDS = 0.05


class Run(AskedRun):
    """A handle on a run directory; any number of them may watch and steer one run."""

    def __init__(self, paths: RunPaths):
        super().__init__(paths)
        self._predictor: tuple[Any, Predictor] | None = None

    def __repr__(self) -> str:
        try:
            return f"<Run {self.labels.name or self.config.name}: {self.status}>"
        except LeptonError:
            return f"<Run {self.id}: unreadable>"

    @property
    def history(self) -> pd.DataFrame:
        """One row per step: step, epoch, loss, time (unix seconds), with metrics and throughput where reported.

        Metrics are means since the epoch began; throughput is in samples/s over the report that the step is in.
        """
        import numpy as np
        import pandas as pd

        view = self.view()
        frame = pd.DataFrame({name: series.array.copy() for name, series in view.step_series.items()})
        if len(frame):
            reports = view.report_steps.array
            index = np.minimum(np.searchsorted(reports, view.steps, side="right"), len(reports) - 1)
            frame["throughput"] = view.throughput[index]
            frame["world_size"] = view.report_world_size.array[index]
            for name, values in view.metrics.items():
                frame[name] = np.append(values, [np.nan] * (len(reports) - len(values)))[index]
        return frame

    @property
    def epochs(self) -> pd.DataFrame:
        """One row per epoch: loss and metrics on the training split, and with ``val_`` on the validation split."""
        import pandas as pd

        return pd.DataFrame(self.view().epochs)

    def wait(self, timeout: float | None = None) -> Run:
        """Wait until the run has ended. Raises `RunError` if it failed, was interrupted or is away, `TimeoutError` if late."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.alive or not (self.status.is_over or self.status in (Status.CREATED, Status.AWAY)):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.id} is still {self.status} after {timeout:g} s: {describe(self.view(), self.status)}"
                )
            time.sleep(POLL_SECONDS)
        if self.status in (Status.FAILED, Status.INTERRUPTED, Status.AWAY):
            raise RunError(f"{self.id} {self.status}: {self.cause}")
        return self

    def resume(self, *, hosts: Any = AS_IT_WAS, workers: int | str | None = None, spark: Any = None) -> Run:
        """Go on: a paused run at once, an ended or interrupted one from its last checkpoint in a new driver.

        One that was held back in line waits in it again; one that waits there goes on by itself, and refuses.
        With ``hosts``, in any form that `launch` takes, it goes on there, with None on this machine alone; ``workers`` is how
        many train then, else as many as before. Every sample still counts once, and weights are the same up to rounding.
        ``spark`` is a session for a run whose workers were tasks of one. Raises `ConfigError` where it needs one, or where the
        hosts have no room; `RunError` for hosts that can't be used, or a run that is under way and shall move. Then nothing
        has changed.
        """
        if self.alive and resuming.elsewhere(hosts, workers):
            resuming.refuse_while_alive(self)
        if self.alive and self._heard("resume", {}) and self.alive:
            return self
        resuming.go_on(self, hosts, workers, spark)
        return self

    def alert(self, notify: Notify, *, stall_seconds: float = STALL_SECONDS) -> Alerts:
        """Tell of a straggler, a stall, a loss that is no number and a full disk: once each until it is over.

        ``notify`` is a function that takes an alert (``run``, ``kind``, ``text``), or a shell command, which finds them in
        ``LEPTON_RUN``, ``LEPTON_ALERT`` and ``LEPTON_TEXT``. A thread of this process watches: alerts end with the notebook's
        kernel. ``lepton alert ID COMMAND`` watches from a shell. Returns at once; `Alerts.stop` ends it. Raises `ConfigError`.
        """
        return Alerts(self, notify, stall_seconds)

    def workers_table(self) -> pd.DataFrame:
        """One row per worker: rank, worker, host, state, samples_per_second, parts of its time, cores, stolen, memory, slowed.

        ``samples_per_second`` is its speed while it computes. The parts are in percent of the last 5 s of training:
        data, computing, communicating, waiting (for the slowest rank) and other (callbacks, validation, the loop).
        Of a run that has ended it is what was told last, and the state is ``ended``; of a paused one it is ``paused``.
        ``stolen_percent`` is the part of the time in which it could have run and had no core; ``memory_mb`` is in MB.
        """
        return watching.workers_table(self.view(), self.status)

    def trace(self, path: str | Path = "trace.json", *, steps: int = 1000) -> Path:
        """Write where the time of each rank went in the last steps as a trace, for ui.perfetto.dev or chrome://tracing.

        A process of the trace is a rank, with spans of data, compute, wait and communicate: one of each for each report
        of the log (`set(log_seconds=0.1)` gives one about every block of steps, 0.001 one for each step). Ranks are aligned on the end of the
        last sum; within a report the spans are sums over its steps. Raises `RunError` before the first report,
        `ConfigError` for a path that does not end in .json.
        """
        return watching.trace(EventReader(self.paths.events).stream(), Path(path), steps)

    def tensorboard(self, folder: str | Path) -> list[Path]:
        """Write each rank's samples/s and parts of its time, as the log has them so far, for TensorBoard; returns the files.

        A folder for each rank, replaced when it is written again. Loads TensorFlow. Raises `RunError` before the first report.
        """
        from lepton_kit.client.tensorboard import write_scalars

        return write_scalars(EventReader(self.paths.events).stream(), Path(folder))

    def logs(self, worker: int | None = None) -> str:
        """The text that the driver (or a worker, by its number) has printed."""
        path = self.paths.driver_log if worker is None else self.paths.worker_log(worker)
        if not path.exists():
            there = ", ".join(sorted(file.name for file in self.paths.logs.glob("*.log"))) or "none"
            raise RunError(f"{path}: there is no such log; there are: {there}")
        try:
            return read_text(path)
        except OSError as failure:
            raise RunError(f"{path}: the log cannot be read ({failure.strerror})") from None

    def model(self) -> Any:
        """The trained Keras model; while the run goes on or was cut off, the last checkpoint's. Loads TensorFlow."""
        from lepton_kit import models
        from lepton_kit.models.custom import CODE
        from lepton_kit.models.objects import own_classes
        from lepton_kit.training import state, sums

        if self.config.quantization_aware is not None:
            from lepton_kit.compression.quantization import qat  # noqa: F401  registers the layers that the model holds
        stored = self.paths.final_model.with_suffix(".pkl")
        for kind, path in (("object", stored), ("keras", self.paths.final_model)):
            if path.exists():
                sums.check(path.parent, path.name, CODE)
                with own_classes():
                    return models.build({"kind": kind, "path": str(path)}, self.directory, self.config.seed)
        folders = state.checkpoint_folders(self.paths.checkpoints)
        if not folders:
            raise RunError(f"{self.id}: there is no checkpoint yet; status {self.status}")
        return self._model_of(*state.load_newest(self.paths.checkpoints))

    def best_model(self) -> Any:
        """The model with the weights of its best epoch so far; `best` says which. Loads TensorFlow.

        Raises `RunError` unless the run was asked to keep them.
        """
        from lepton_kit.training import state

        folders = state.checkpoint_folders(self.paths.best)
        if not folders:
            asked = self.config.training.keep_best
            reason = (
                f"no epoch with {asked} has ended yet; status {self.status}"
                if asked
                else "it was not asked to keep the best epoch; launch(keep_best='val_loss') does, or EarlyStopping"
            )
            raise RunError(f"{self.id}: {reason}")
        return self._model_of(folders[-1], state.load_checkpoint(folders[-1])[1])

    @property
    def best(self) -> dict[str, Any] | None:
        """The best epoch so far as ``{epoch, quantity, value, step}``; None if none is kept."""
        from lepton_kit.training import state, sums

        folders = state.checkpoint_folders(self.paths.best)
        if not folders:
            return None
        meta = sums.read_meta(folders[-1])
        return {name: meta[name] for name in ("epoch", "quantity", "value", "step")}

    def predict(
        self,
        raw: Any,
        *,
        model: str = "last",
        workers: int | None = None,
        hosts: Any = None,
        batch_size: int = 256,
        top: int | None = None,
        progress: bool | Callable[[int, int | None], Any] | None = None,
    ) -> pd.DataFrame:
        """Answers for raw input, encoded as the training rows were: one row an input, in order. Loads TensorFlow.

        ``raw`` is what a user of that kind of data has: a frame or a CSV file without the target, image files or a
        folder, sentences, arrays. ``model="best"`` takes the weights of the best epoch; a run that is not over answers
        with its last checkpoint, which the notes say. ``top=3`` gives the three likeliest classes. See
        `lepton_kit.deploy.predict.Predictor.predict`.
        """
        found = self.predictor(model)
        return found.predict(
            raw, workers=workers, hosts=hosts, batch_size=batch_size, top=top, progress=progress
        )

    def predictions(self) -> Predictions | None:
        """What the model said of the validation split after its last validation: counts by class, some samples; None before.

        The ``counts`` of a classification are a confusion matrix, a row for each true class.
        """
        seen = self.view().predictions
        return seen[-1].whole(self.paths.confusion(seen[-1].step)) if seen else None

    def predictor(self, model: str = "last") -> Predictor:
        """What `predict` asks, kept while the run's weights stay the same."""
        from lepton_kit.client.predicting import predictor_of, stamp

        now = stamp(self, model)
        if self._predictor is None or self._predictor[0] != now:
            self._predictor = (now, predictor_of(self, model))
        return self._predictor[1]

    def inputs(self) -> pd.DataFrame:
        """The fields that `predict` takes of a table: one row each with kind, low, high, typical value, choices.

        As the training rows had them; ``typical`` is the median, of texts the most frequent one. Does not load
        TensorFlow for a finished run. Raises `DataError` for input without fields, such as images.
        """
        from lepton_kit.deploy import frames, sidecars

        return frames.fields(sidecars.of_run(self)[0])

    def report(self, model: str = "last", *, on: Any = None) -> ModelCard:
        """The model card: figures with intervals, confusion matrix, calibration, worst samples.

        Of the validation split; or ``on`` rows that are given with their truth, such as a test split that no choice has
        seen: a table with the target's column, else a pair (raw input, its true classes or values). Shows itself in a
        notebook; ``report().save(path)`` writes HTML, ``report().table()`` is a frame. Loads TensorFlow the first time.
        Raises `DataError` for rows without a truth.
        """
        from lepton_kit.client.predicting import report_of

        return report_of(self, model, on)

    def _model_of(self, checkpoint: Path, arrays: list[Any]) -> Any:
        from lepton_kit.models.objects import own_classes
        from lepton_kit.training import job, state

        with own_classes():
            model = job.build_model(self.config, self.directory, self.data().prepare())
        state.restore(model.variables, arrays[: len(model.variables)], str(checkpoint))
        return model

    def data(self) -> Dataset:
        """The data that it trains on, as they were when it began. Raises `DataError` if they are lost or changed."""
        if self.config.frozen is None:  # a run of an older version
            return Dataset.from_spec(self.config.data, self.directory)
        return Dataset("arrays", self.paths.data, held=open_frozen(self.config, self.directory))

    def control_run(self) -> Run:
        """The control of a run that prunes or rounds while it trains: the same in float, for as many steps.

        The first call starts it beside this run, later ones find it, unless it was deleted or this run has gone on
        since. It has this run's model, data, seed, workers and learning rate as configured; changes made while this
        run trained are not repeated. Raises `RunError` for a run that neither prunes nor rounds, or is not over.
        """
        if self.config.pruning is None and self.config.quantization_aware is None:
            raise RunError(f"{self.id} neither prunes nor rounds while it trains; it needs no control")
        check_in_place(self.paths)
        if self.alive or not self.view().step:
            raise RunError(f"{self.id} is {self.status}; its control trains as long, so it has to end first")
        with contextlib.suppress(RunError, OSError):
            known = open_run(self.paths.control_run.read_text(encoding="utf-8"), self.directory.parent)
            if known.config.training.max_steps == self.view().step:
                return known
        plain = {"pruning": None, "quantization_aware": None, "name": f"{self.config.name[:56]}-control"}
        config = absolute(self.config, self.directory)
        config = config.replace(**plain, **{"training.max_steps": self.view().step})
        prepared = open_frozen(self.config, self.directory)
        fill = functools.partial(with_data, config, prepared)
        run = Run(begin(config.name, self.directory.parent, fill))
        write_atomically(self.paths.control_run, run.id)
        return run

    def to_config(self, path: str | Path | None = None) -> str:
        """The YAML that repeats this run from a shell; written to ``path`` if given (paths in it are absolute)."""
        text = absolute(self.config, self.directory).to_yaml()
        if path is not None:
            with writing("path", Path(path)):
                Path(path).write_text(text, encoding="utf-8")
        return text

    def code(self) -> str:
        """The Python that repeats this run; what was changed while it trained stands below as comments, with the steps."""
        return with_changes(as_python(absolute(self.config, self.directory)), self.view().requests)


def open_run(run: str | Path, runs_dir: str | Path | None = None, *, trust: bool = False) -> Run:
    """Attach to a run by id, by the beginning of its id, by path, or ``"latest"``. Raises `RunError` if not there.

    ``runs_dir`` is ``$LEPTON_RUNS_DIR`` where that is set, else ``runs`` in the current folder. The code in a run that comes
    from elsewhere (its ``.pkl`` files) is loaded only with ``trust``, and from then on.
    """
    found = Run(find_run(run, runs_dir))
    _ = found.config  # a folder whose configuration can't be read is no run
    if trust:
        trusted.trust(found.directory)
    return found
