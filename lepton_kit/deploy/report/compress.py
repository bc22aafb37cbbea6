"""`compress`: start the compression job of a run or a model, watch it, and read its report card."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_kit import errors
from lepton_kit.compression.quantization.formats import check_precisions
from lepton_kit.data.prepared import open_folder
from lepton_kit.deploy import sidecars
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.goal import goal_of
from lepton_kit.deploy.report.job_file import Job
from lepton_kit.deploy.report.yardstick import yardstick
from lepton_kit.deploy.subject import (
    check_data,
    check_layers,
    find_control,
    find_home,
    find_subject,
    store_calibration,
    store_test,
)
from lepton_kit.errors import CompressionError, RunError
from lepton_kit.machine import devices
from lepton_kit.models import trust as trusted
from lepton_kit.models.description import description
from lepton_kit.processes.detached import start_detached
from lepton_kit.processes.isolated import child_environment
from lepton_kit.rundir import EventReader, RunPaths, RunView, Status, lock, send_request
from lepton_kit.rundir.paths import write_atomically

QUANTIZE = ("float16", "dynamic_int8", "int8")
SEARCH_SPARSITY = (0.5, 0.8)
PATTERNS = ("unstructured", "2:4", "block")
CANCEL_SECONDS = 10.0
"""A job that has not heard by then that it shall end is killed."""


@dataclass(frozen=True)
class CompressionJob:
    """A compression that runs in a process of its own, known by its folder from any notebook or shell.

    The folder is one as a run's is: ``events.jsonl``, ``status.json``, ``control/`` and a lock that is held while the
    process works; at the end ``card.json``.

    >>> CompressionJob(run.directory / "compression").running  # doctest: +SKIP
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    def __repr__(self) -> str:
        return f"CompressionJob({self.folder.name}, {self.status})"

    @property
    def paths(self) -> RunPaths:
        """The names of its files, which are those of a run's."""
        return RunPaths(self.folder)

    @property
    def running(self) -> bool:
        """Whether the process still works."""
        return lock.held(self.paths)

    @property
    def status(self) -> Status:
        """What the job does; ``interrupted`` if its process has gone without a last word."""
        running = self.running  # before the file is read: what it says then is the last word
        said = Status(self.paths.read_status()["status"])
        return said if running or said.is_final or said is Status.CREATED else Status.INTERRUPTED

    def view(self) -> RunView:
        """Its log so far: ``status``, ``cause``, and in ``doing`` what it said last that it does."""
        view = RunView(self.paths.events)
        view.refresh()
        return view

    def cancel(self) -> None:
        """Have the job end itself and all its children; who waits for its card is told.

        One that does not hear within 10 s is killed.
        """
        if not self.running:
            return
        send_request(self.paths, "stop")
        deadline = time.monotonic() + CANCEL_SECONDS
        while self.running:
            pid = self.paths.read_status()["driver_pid"]
            if time.monotonic() > deadline and pid:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            time.sleep(0.02)

    def result(self, tell: Callable[[str], None] | None = None) -> ReportCard:
        """Wait for the card. Raises what stopped the job; an interrupt (Ctrl-C) ends the job too."""
        reader, last = EventReader(self.paths.events), {}
        try:
            while True:
                ended = not self.running
                for event in reader.poll():
                    if event["kind"] == "progress" and tell:
                        tell(event["text"])
                    if event["kind"] == "status":
                        last = event
                if ended:
                    break
                time.sleep(0.1)
        except KeyboardInterrupt:
            self.cancel()
            raise
        status = Status(last.get("status", Status.CREATED))
        if status is Status.FINISHED:
            return ReportCard.load(self.folder)
        if not status.is_final:
            raise CompressionError(f"the compression ended before it had a card; see {self.paths.driver_log}")
        kind = getattr(errors, last.get("error", ""), CompressionError)
        raise (kind if kind is not errors.ConfigError else CompressionError)(last["cause"])


def compress(
    run_or_model: Any,
    data: Any = None,
    *,
    sparsity: float | Iterable[float] | None = None,
    structured: float | Iterable[float] | None = None,
    quantize: str | Sequence[str] = QUANTIZE,
    metric: str = "auto",
    max_accuracy_drop: float | None = None,
    max_drop: float | str | Mapping[str, float | str] | None = None,
    target: str | None = None,
    test: Any = None,
    cost: str = "balanced",
    pattern: str = "unstructured",
    keep_float: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    fine_tune_epochs: int = 3,
    learning_rate: float = 2e-3,
    calibration: Any = None,
    calibration_size: int = 200,
    repetitions: int = 30,
    memory: bool = True,
    seed: int = 0,
    control: Any = True,
    folder: str | Path | None = None,
    wait: bool = True,
    trust: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Any:
    """Make compressed variants of a model, measure them all, and return the `ReportCard`.

    Parameters
    ----------
    run_or_model : a run, a ``.keras`` file, a `LeptonModel`, or a Keras model (which then needs ``data``).
    data : a dataset, `PreparedData`, or arrays (x_train, y_train, x_validation, y_validation).
    sparsity, structured : share of weights made zero, share of channels removed, in [0, 1); one value or several.
        Such variants are fine-tuned for ``fine_tune_epochs`` with a rate that falls from ``learning_rate`` to 0, and
        so is a control that is not compressed; with a share r of channels removed 1 / (1 - r) times as long, at most 8 times.
    quantize : number formats, see `lepton_kit.compression.PRECISIONS`. ``mixed`` keeps ``keep_float`` in float;
        ``qat8`` to ``qat2`` are fine-tuned with rounding, beside the control.
    skip : layers that are neither pruned nor trained with rounding.
    metric : what the score is. ``auto``: what the model's loss and head say: accuracy, of several labels a sample per
        label, of maps per position, of values the mean absolute error in their unit. ``dice``: of maps of classes the Dice
        coefficient of all held-out places (of two classes that of the second, else the mean). Also the name of a metric
        that the model was compiled with, or of one of several outputs.
    max_accuracy_drop : search for the cheapest variant that loses at most this much of the score (0.005: half a
        point; of an error it is a share of the float model's) among the given shares (0: leave that out; by default the
        search chooses the share of channels, and tries 50 and 80 % zeros on what it found).
    max_drop : the same in another form: ``{"auc": 0.01}`` or ``"auc=0.01"`` names the metric that is bounded and
        reported, a number is in its unit, and text such as ``"2%"`` a share of the float model's value.
    target : the other way round: search for the best score that meets ``"latency <= 0.02 ms"`` (batch 1, one thread,
        measured here) or ``"size <= 50 kB"`` (of the file). What removes channels is trained only where a look at the
        untrained file says that it will meet the target.
    test : what the card reports on, (x, y) or data of one split; a search then chooses on the validation split.
    cost : what cheap means: ``latency`` (batch 1, one thread), ``size`` (gzip), or ``balanced``,
        their geometric mean.
    calibration : samples that show full int8 the ranges of its activations, shape (samples, *input); by default
        ``calibration_size`` samples of the training split, the same share of each class.
    control : a run that pruned or rounded while it trained stands beside a control, the same run in float for as many
        steps, trained now if it has not been (`Run.control_run`). False does without; another run is taken as it.
    wait : False returns a `CompressionJob` at once.
    trust : load the code beside a ``.keras`` file (``custom.pkl``) though it comes from elsewhere, now and from then on.

    All training, conversion and timing happen in another process; this one loads no TensorFlow for it. Raises
    `CompressionError` that names the option or layer.

    >>> card = compress(run, quantize=("int8",), structured=0.5)  # doctest: +SKIP
    >>> card.table(), card.figure(), card.path("structured-50+int8")  # doctest: +SKIP
    """
    settings: dict[str, Any] = {
        "sparsity": _shares("sparsity", sparsity),
        "structured": _shares("structured", structured),
        "quantize": _names(quantize),
        "keep_float": _names(keep_float),
        "skip": _names(skip),
    }
    check_precisions(settings["quantize"], keep_float=settings["keep_float"])
    metric, goal, relative = goal_of(metric, max_accuracy_drop, max_drop, target, cost)
    if pattern not in PATTERNS:
        raise CompressionError(f"pattern: got {pattern!r}; expected one of {', '.join(PATTERNS)}")
    for name, value in (
        ("fine_tune_epochs", fine_tune_epochs),
        ("repetitions", repetitions),
        ("calibration_size", calibration_size),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CompressionError(f"{name}: got {value!r}; expected a whole number of at least 1")
    if not 0 < learning_rate < float("inf"):
        raise CompressionError(f"learning_rate: got {learning_rate!r}; expected a number above 0")
    if goal is not None:
        settings["refine"] = structured is None
    if goal is not None and goal.is_bound:
        settings["sparsity"] = SEARCH_SPARSITY if sparsity is None else settings["sparsity"]
    elif goal is not None and settings["sparsity"]:
        raise CompressionError(
            f"sparsity: got {sparsity!r} beside a target; zeros make a file neither smaller nor faster, so leave it out"
        )
    if isinstance(run_or_model, str | Path) and Path(run_or_model).exists():
        (trusted.trust if trust else trusted.check)(Path(run_or_model))
    home = find_home(run_or_model, folder)
    with _alone(home) as descriptor:
        model_path, data_path = find_subject(run_or_model, data, home)
        yardstick(model_path, open_folder(data_path), metric)
        check_layers(model_path, keep_float=settings["keep_float"], skip=settings["skip"])
        _answer_beside(home, model_path, data_path)
        given = None if calibration is None else store_calibration(calibration, data_path, home)
        test_path = None if test is None else store_test(test, home).absolute()
        if test_path is not None:
            check_data(model_path, test_path, "test")
        twin = find_control(run_or_model, control)
        job = Job(
            folder=str(home),
            model=str(model_path),
            data=str(data_path),
            pattern=pattern,
            metric=metric,
            max_drop=goal.limit if goal is not None and goal.is_bound else None,
            target=None if goal is None or goal.is_bound else (goal.limited, goal.limit),
            relative=relative,
            test=None if test_path is None else str(test_path),
            cost=cost,
            fine_tune_epochs=fine_tune_epochs,
            learning_rate=learning_rate,
            calibration=given,
            calibration_size=calibration_size,
            repetitions=repetitions,
            memory=memory,
            seed=seed,
            gpu=os.environ.get("CUDA_VISIBLE_DEVICES", "0") if devices.gpus() else None,
            control_run=None if twin is None else str(twin.absolute()),
            **settings,
        )
        handle = _start(job, descriptor)
    return handle.result(tell) if wait else handle


def _answer_beside(home: Path, model: Path, data: Path) -> None:
    """What lets every variant answer raw input: `lepton_kit.load` finds it beside the files."""
    described = description({"kind": "keras", "path": model.name}, model.parent)
    sidecars.write(home, *sidecars.of_data(open_folder(data), described))


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[int]:
    """The descriptor of the folder's lock. Raises `CompressionError` if a compression is under way in it."""
    try:
        descriptor = lock.take(RunPaths(home))
    except RunError:
        raise CompressionError(
            f"{home}: a compression is under way here. Give another folder, wait for its card with "
            f"lepton_kit.deploy.CompressionJob({str(home)!r}).result(), or end it with .cancel()"
        ) from None
    try:
        _clear(RunPaths(home))
        yield descriptor
    finally:
        os.close(descriptor)


def _clear(paths: RunPaths) -> None:
    """Begin a new log; requests that come from now on are this job's. The old card stays until the job starts."""
    for folder in (paths.control, paths.logs):
        folder.mkdir(mode=0o700, exist_ok=True)
    for old in (paths.events, *paths.control.glob("*.json")):
        old.unlink(missing_ok=True)
    write_atomically(paths.status, json.dumps({"status": Status.CREATED, "cause": None, "driver_pid": None}))


def _start(job: Job, descriptor: int) -> CompressionJob:
    """Start the job's process in a session of its own; it holds the lock until it ends."""
    paths = RunPaths(Path(job.folder))
    (paths.root / "card.json").unlink(missing_ok=True)
    job.save(paths.root / "job.json")
    start_detached(
        "lepton_kit.deploy.report.job",
        [str(paths.root / "job.json")],
        paths.driver_log,
        descriptors=(descriptor,),
        environment=child_environment(),
    )
    return CompressionJob(paths.root)


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _shares(name: str, value: float | Iterable[float] | None) -> tuple[float, ...]:
    if value is None:
        return ()
    values = (value,) if isinstance(value, int | float | str) else tuple(value)
    for one in values:
        if isinstance(one, bool) or not isinstance(one, int | float) or not 0 <= one < 1:
            raise CompressionError(f"{name}: got {one!r}; expected a share in [0, 1), such as 0.8")
    return tuple(sorted({float(one) for one in values if one}))
