"""The workbench of a compression job: makes variants of one model, scores and times them, and keeps their rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lepton_kit.compression.quantization.convert import convert
from lepton_kit.compression.quantization.formats import PRECISIONS, representative
from lepton_kit.data.prepared import Split, open_folder
from lepton_kit.deploy.report import measure
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.flags import flags
from lepton_kit.deploy.report.goal import LATENCY
from lepton_kit.deploy.report.job_file import Job
from lepton_kit.deploy.report.judging import Judge
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.deploy.report.search import Trunk
from lepton_kit.deploy.report.tuning import Tuner
from lepton_kit.deploy.report.yardstick import labels_of
from lepton_kit.errors import CompressionError
from lepton_kit.machine import devices
from lepton_kit.processes.isolated import Call, fresh_call
from lepton_kit.rundir import RunPaths, RunView, lock

MODULE = "lepton_kit.deploy"
QUICK_REPETITIONS = 10
CONTROL_LOOK_SECONDS = 1.0
CONTROL_TELLS = 20


class Bench:
    """Makes variants of one model and keeps their rows; every step that needs TensorFlow is a call."""

    def __init__(self, job: Job, call: Call, tell: Callable[[str], None]):
        self.job, self.call, self.tell = job, call, tell
        self.folder = Path(job.folder)
        self.work = self.folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.data = open_folder(Path(job.data))
        self.judge = Judge(job, call, self.data)
        self.calibration, self.calibration_choice = self._representative()
        self.tuner = Tuner(job, call, tell, self.folder / "keras.keras", self.data)
        self.rows: list[Row] = []
        self.facts: dict[str, dict[str, Any]] = {}
        self.trained_bits: int | None = None

    def _representative(self) -> tuple[list[list[Any]], str]:
        """The files of the representative dataset, and in words how it was chosen."""
        if self.job.calibration is not None:
            count = len(np.load(self.job.calibration[0][1], mmap_mode="r"))
            return [list(one) for one in self.job.calibration], f"{count} samples that were given"
        train = self.data.train
        chosen = representative(
            labels_of(train.y), len(train), size=self.job.calibration_size, seed=self.job.seed
        )
        return self.judge.store(Split(train.take(chosen.indices)[0]), "calibration"), chosen.choice

    # ---------------------------------------------------------------- making
    def float_model(self) -> None:
        """The row of the Keras model as it came, in float; every score is compared with it."""
        path = self.trunk_path(Trunk())
        self.tell("float Keras model")
        self.trained_bits = self.call(f"{MODULE}.report.tune:strip", model=self.job.model, output=str(path))[
            "trained_bits"
        ]
        row = Row("keras", "Keras", role="float", file=path.name)
        self._score(row, path)
        for row in self.rows:
            if row.error is not None:  # the model itself can't be judged: no variant could be
                raise CompressionError(row.error)

    @property
    def lanes(self) -> int:
        """How many trainings run side by side."""
        return self.tuner.lanes

    def train(self, trunks: Sequence[Trunk], precisions: Sequence[str]) -> None:
        """Remove from the model as it came what each trunk says, round what its number formats say, and fine-tune.

        All of it runs side by side, as far as the machine goes; a control that is not compressed trains as long.
        """
        own = (self._own,)
        wanted = [(t, [name for name in precisions if t != Trunk() or name not in own]) for t in trunks]
        self.tuner.train([task for trunk, names in wanted for task in self.tuner.tasks(trunk, names)])
        for trunk in trunks:
            if trunk != Trunk():
                said = self.tuner.said(self.tuner.path(trunk))
                self.facts.setdefault(trunk.name, {})["notes"] = said["notes"]

    def control(self) -> None:
        """The row of the control, if anything was trained."""
        path = self.tuner.control.path
        if path in self.tuner.done:
            self.tuner.said(path)
            self._convert(path, "control", "float32", Row("control", "LiteRT", role="control"), "control")

    def probe(self, structured: float, precisions: Sequence[str], key: str) -> dict[str, float]:
        """What a trunk without that share of channels would cost, per number format: a figure of rows that aren't trained."""
        self.tell(f"looking what {structured:.0%} fewer channels would cost")
        model = self.work / "probe.keras"
        self.call(
            f"{MODULE}.report.tune:remove",
            model=str(self.trunk_path(Trunk())),
            output=str(model),
            structured=structured,
            keep=list(self.job.skip),
        )
        rows, alike = [], {}
        for precision in dict.fromkeys(("float32", *precisions)):
            alike[precision] = "int8" if PRECISIONS[precision].trained_bits else precision
        for precision in dict.fromkeys(alike.values()):
            output = self.work / f"probe-{precision}.tflite"
            try:
                self._made(model, precision, output, self.work / "probe-float32.tflite")
            except CompressionError:
                continue  # with trained channels it will be a row with the reason
            sizes = {name: Figure(size, "measured") for name, size in measure.sizes(output).items()}
            rows.append(Row(precision, "LiteRT", file=f"{self.work.name}/{output.name}", figures=sizes))
        found = {row.name: row.get(key) for row in (self.quick(rows) if key == LATENCY else rows)}
        return {precision: cost for precision, like in alike.items() if (cost := found.get(like)) is not None}

    def control_run(self) -> None:
        """The run that trained as long as this one did, in float; waits for its end, and nothing is timed meanwhile."""
        if self.job.control_run is None:
            return
        paths, row = RunPaths(Path(self.job.control_run)), Row("control-run", "LiteRT", role="control")
        view, told = RunView(paths.events), None
        held = True
        while held:
            held = lock.held(paths)
            view.refresh()
            done = CONTROL_TELLS * view.step // (view.total_steps or 1)
            if done != told:
                self.tell(
                    f"training the control {paths.id}: step {view.step} of {view.total_steps or 'unknown'}"
                )
                told = done
            if held:
                time.sleep(CONTROL_LOOK_SECONDS)
        if not paths.final_model.is_file():
            status = paths.read_status()
            cause = f" ({status['cause']})" if status.get("cause") else ""
            reason = f"the control {paths.id} has no model, its status is {status['status']}{cause}; `lepton resume` may help"
            self.rows.append(replace(row, error=reason))
            return
        self._convert(paths.final_model, row.name, "float32", row, row.name)

    def trunk_path(self, trunk: Trunk) -> Path:
        """Where the weights of a trunk are kept."""
        return self.tuner.path(trunk) if trunk.name else self.folder / "keras.keras"

    @property
    def _own(self) -> str | None:
        """The number format that the model as it came was trained for."""
        return None if self.trained_bits is None else f"qat{self.trained_bits}"

    def variants(self, trunk: Trunk, precisions: Sequence[str]) -> None:
        """Convert a trunk to every number format and score each; float32 is always made.

        A model that was trained with rounding is also converted with it, as it came.
        """
        path = self.trunk_path(trunk)
        own = self._own if trunk == Trunk() else None
        for precision in dict.fromkeys(filter(None, ("float32", own, *precisions))):
            name = trunk.variant(precision)
            self.tell(f"converting and scoring {name}")
            role: Literal["float", "variant"] = "float" if name == "float32" else "variant"
            row = Row(name, "LiteRT", precision, trunk.structured, trunk.sparsity, role)
            bits = PRECISIONS[precision].trained_bits
            if bits is None:
                self._convert(path, name, precision, row, trunk.name)
                continue
            if precision == own:
                as_it_came = replace(row, notes=("its rounding was trained in the run itself",))
                self._convert(Path(self.job.model), name, precision, as_it_came, trunk.name)
                continue
            aware = self.tuner.path(trunk, precision)
            try:
                self.tuner.said(aware)
            except CompressionError as failure:
                self.rows.append(replace(row, error=str(failure).splitlines()[0]))
                continue
            self._convert(aware, name, precision, row, trunk.name)

    def _convert(self, path: Path, name: str, precision: str, row: Row, trunk: str) -> None:
        output = self.folder / f"{name}.tflite"
        float_file = self.folder / f"{name.removesuffix(precision)}float32.tflite"
        needs = PRECISIONS[precision]
        if needs.needs_float_file and not float_file.is_file():
            self.rows.append(replace(row, error="it is made from the float32 file, which could not be made"))
            return
        try:
            said = self._made(path, precision, output, float_file)
        except CompressionError as failure:
            self.rows.append(replace(row, error=str(failure).splitlines()[0]))
            return
        notes = (*row.notes, *self.facts.get(trunk, {}).get("notes", ()), *said["notes"])
        if precision == "mixed":
            notes += (f"kept in float: {', '.join(self.job.keep_float)}",)
        self._score(replace(row, file=output.name, notes=notes), path)

    def _made(self, path: Path, precision: str, output: Path, float_file: Path) -> dict[str, Any]:
        """Convert a Keras file; what was said of it."""
        needs = PRECISIONS[precision]
        return convert(
            self.call,
            path,
            precision,
            output,
            calibration=self.calibration if needs.calibrated else None,
            keep_float=self.job.keep_float if precision == "mixed" else (),
            float_file=float_file if needs.needs_float_file else None,
        )

    # ---------------------------------------------------------------- judging
    def _score(self, row: Row, keras_path: Path) -> None:
        try:
            self.rows.append(self.judge.score(row, keras_path))
        except CompressionError as failure:
            self.rows.append(replace(row, error=str(failure).splitlines()[0]))

    def on_gpu(self) -> None:
        """The row of the float Keras model on this machine's GPU, timed by itself in a process of its own."""
        if self.job.gpu is None:
            return
        self.tell("float Keras model on the GPU")
        row = Row("keras-gpu", "Keras", role="float", target="GPU", file=self.trunk_path(Trunk()).name)
        outputs = self.work / "gpu.npz"
        try:
            times = fresh_call(
                f"{MODULE}.report.measure:keras_on",
                gpus=self.job.gpu,
                kind="GPU",
                path=str(self.folder / str(row.file)),
                inputs=self.judge.samples,
                output=str(outputs),
                repetitions=self.job.repetitions,
            )
            if self.job.test is not None:
                test = {"path": str(self.folder / str(row.file)), "inputs": self.judge.test.inputs}
                fresh_call(
                    f"{MODULE}.report.measure:predict_file",
                    gpus=self.job.gpu,
                    output=str(self.work / "gpu-test.npz"),
                    **test,
                )
        except CompressionError as failure:
            self.rows.append(replace(row, error=str(failure).splitlines()[0]))
            return
        row = self.judge.judged(row, self.judge.facts_of(self.folder / str(row.file)), None, "gpu")
        figures = {f"latency_{batch}_one": _spread(times[str(batch)]) for batch in measure.BATCHES}
        figures["throughput"] = _throughput(times)
        alone = "timed by itself: moving samples to the GPU and answers back is part of it, with one thread of the host"
        self.rows.append(replace(row, figures={**row.figures, **figures}, notes=(alone,)))

    def time(self) -> None:
        """Time all rows interleaved in one run: one thread, then all threads; then peak memory."""
        alive = [row for row in self.rows if row.error is None and row.target == "CPU"]
        if not alive:
            return
        models = [
            {"name": row.name, "runtime": row.runtime.lower(), "path": str(self.folder / str(row.file))}
            for row in alive
        ]
        cores = devices.usable_cores()
        found: dict[str, dict[str, Figure]] = {row.name: {} for row in alive}
        for label, threads in (("one", 1), ("all", cores)):
            self.tell(f"timing {len(models)} variants, {threads} thread{'s' * (threads > 1)}")
            times = self.call(
                f"{MODULE}.report.measure:time_models",
                models=models,
                inputs=self.judge.samples,
                threads=threads,
                repetitions=self.job.repetitions,
                energy=self.job.energy and label == "one",
                against="float32" if label == "one" else None,
            )
            for name, by_batch in times.items():
                for batch in measure.BATCHES:
                    found[name][f"latency_{batch}_{label}"] = _spread(by_batch[str(batch)])
                if label == "one":
                    found[name]["energy"] = _energy(by_batch.get("energy"))
                else:
                    found[name]["throughput"] = _throughput(by_batch)
        for row in alive:
            found[row.name]["peak_memory_bytes"] = self._memory(row)
        self.rows = [replace(r, figures={**r.figures, **found.get(r.name, {})}) for r in self.rows]

    def quick(self, rows: Sequence[Row]) -> list[Row]:
        """These rows with a first look at their latency, timed interleaved; the card is timed anew at the end."""
        unique = {row.name: row for row in rows if row.error is None}
        if not unique:
            return []
        models = [
            {"name": row.name, "runtime": "litert", "path": str(self.folder / str(row.file))}
            for row in unique.values()
        ]
        times = self.call(
            f"{MODULE}.report.measure:time_models",
            models=models,
            inputs=self.judge.samples,
            threads=1,
            batches=[1],
            repetitions=QUICK_REPETITIONS,
        )
        return [
            replace(
                row,
                figures={**row.figures, "latency_1_one": Figure(times[row.name]["1"]["median"], "measured")},
            )
            for row in unique.values()
        ]

    def _memory(self, row: Row) -> Figure:
        if not self.job.memory:
            return Figure.not_run("not asked for")
        self.tell(f"peak memory of {row.name}")
        try:
            value = fresh_call(
                f"{MODULE}.report.measure:peak_memory",
                path=str(self.folder / str(row.file)),
                inputs=self.judge.samples,
            )
        except CompressionError as failure:
            return Figure.not_run(str(failure))
        return Figure(value, "measured")

    def card(self, best: str | None = None, trail: Sequence[dict[str, Any]] = ()) -> ReportCard:
        """The finished card; the last step of a search's trail says how it ended."""
        if self.judge.metric is None:
            errors = "; ".join(f"{row.name}: {row.error}" for row in self.rows if row.error)
            raise CompressionError(f"no variant could be made and scored: {errors}")
        metric, higher = self.judge.metric.metric, self.judge.metric.higher_is_better
        rows = tuple(replace(row, flags=flags(row, self.rows, higher_is_better=higher)) for row in self.rows)
        settings = {
            "cpu": f"{devices.cpu_name()}, {measure.int8_support()}",
            "calibration": self.calibration_choice,
            "fine_tune_epochs": self.job.fine_tune_epochs,
            "seed": self.job.seed,
            "threads_all": devices.usable_cores(),
            "repetitions": self.job.repetitions,
            "choice": self._choice(best),
            **({"goal": trail[-1]["ended"]} if trail else {}),
            "measured_at": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        }
        return ReportCard(
            rows, metric, higher, self.judge.test.count, settings, best, tuple(trail), str(self.folder)
        )

    def _choice(self, best: str | None) -> str:
        if best is None:
            return "no search" if self.job.goal is None else "none: no variant is within the limit"
        if self.job.test is not None:
            return "the search chose on the validation samples; the card reports the test samples"
        return "the search chose on the same held-out samples that it reports, so expect a little less"


def _energy(told: Mapping[str, Any] | None) -> Figure:
    """Millijoules of `joules.joules_per_call` with their interval."""
    if told is None:
        return Figure.not_run("it was not asked for")
    if told["joules"] is None:
        return Figure.not_run(told["why"])
    value, low, high = (1000 * told[name] for name in ("joules", "low", "high"))
    return Figure(value, told["origin"], low, high, told["why"] or "")


def _spread(times: dict[str, float]) -> Figure:
    return Figure(times["median"], "measured", times["low"], times["high"])


def _throughput(times: dict[str, Any]) -> Figure:
    largest = measure.BATCHES[-1]
    return Figure(1000 * largest / times[str(largest)]["median"], "measured")
