"""Batch inference over several processes: in order, every sample exactly once, with the measured throughput."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lepton_kit.config import RunSettings
from lepton_kit.data.sharding import cut
from lepton_kit.data.structure import Arrays, first, items
from lepton_kit.data.writing import allocated
from lepton_kit.deploy.report.rows import Figure
from lepton_kit.deploy.runners import format_of, samples_of
from lepton_kit.deploy.subject import final_model, is_run, prepare, store_model
from lepton_kit.errors import CompressionError, ModelError
from lepton_kit.hosts import read_hosts
from lepton_kit.processes.isolated import child_environment
from lepton_kit.processes.program import begin


@dataclass(frozen=True, eq=False)
class InferenceResult:
    """``outputs[i]`` belongs to sample i; of a model with several outputs a list of such arrays, in the model's order.

    ``seconds`` counts from the start signal to the last output.
    """

    outputs: Any
    seconds: float
    start_seconds: float
    workers: int
    parts: tuple[tuple[int, int], ...]

    @property
    def throughput(self) -> Figure:
        """Samples per second over all workers, without their start."""
        return Figure(self.samples / self.seconds if self.seconds else None, "measured")

    @property
    def samples(self) -> int:
        """How many samples were predicted."""
        return self.parts[-1][1]

    def __repr__(self) -> str:
        return f"InferenceResult({self.samples} samples, {self.workers} workers)"


def infer(
    run_or_export: Any,
    data: Any,
    *,
    workers: int | None = None,
    batch: int = 256,
    threads: int | None = None,
    output: str | Path | None = None,
    split: str = "validation",
    hosts: Any = None,
) -> InferenceResult:
    """Predict all samples with N worker processes, on this machine or over hosts.

    Parameters
    ----------
    run_or_export : a run, an exported file (``.keras``, ``.tflite``, ``.onnx``) or SavedModel folder, a `LeptonModel`
        or a Keras model.
    data : an array of samples, rows first, of several inputs a dictionary or tuple of arrays; or a dataset, of which
        ``split`` is used.
    workers, threads : processes (default: 2), and threads of each (default: cores divided by workers).
    hosts : where to predict, as `launch` takes them (``"gpu-box:4, lab-3:2"``), instead of ``workers``: their slots count.
        Each gets the model once, and a part of the rows by its slots and speed; the way there and back counts in
        ``seconds``. Raises `RunError` for a host that would compute something else.
    output : a ``.npy`` file for the outputs; without it they are returned in memory. Of several outputs each gets a file
        of its own, ``NAME-0.npy`` and so on.

    The samples are cut into one contiguous part a worker by `lepton_kit.data.sharding.cut`. A worker that dies or
    fails ends the inference with a `CompressionError` that names its samples.
    """
    for name, value in (("workers", workers), ("batch", batch), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise CompressionError(f"{name}: got {value!r}; expected a whole number of at least 1")
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise CompressionError(f"output: got {str(output)!r}; the folder that it would lie in does not exist")
    samples = _samples(data, split)
    if hosts is not None and workers is not None:
        raise CompressionError(f"workers: got {workers}; expected none with hosts, whose slots count")
    workers = workers or 2
    with tempfile.TemporaryDirectory(prefix="lepton-infer-") as folder:
        home = Path(folder)
        model = _model_file(run_or_export, home)
        if hosts is not None:
            return _over(hosts, model, samples, batch, threads, output)
        inputs = [
            [key, _saved(home / f"samples-{place}.npy", part)]
            for place, (key, part) in enumerate(items(samples))
        ]
        count = len(first(samples))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        parts = parts_of(count, workers)
        pool = WorkerPool(home, model, inputs, parts, batch, threads or max(1, cores // len(parts)))
        target = Path(output) if output is not None else home / "outputs.npy"
        with pool:
            started = time.perf_counter()
            found = pool.wait_ready()
            ready = time.perf_counter()
            files = [target] if len(found) == 1 else [_numbered(target, place) for place in range(len(found))]
            for file, (shape, dtype) in zip(files, found, strict=True):
                allocated(file, (count, *shape), dtype).flush()
            ready_to_go = time.perf_counter()
            pool.go(files)
            seconds = time.perf_counter() - ready_to_go
        outputs = [np.load(file, mmap_mode="r" if output is not None else None) for file in files]
        whole = outputs[0] if len(outputs) == 1 else outputs
        return InferenceResult(whole, seconds, ready - started, len(parts), parts)


def _over(
    hosts: Any, model: Path, samples: Arrays, batch: int, threads: int | None, output: str | Path | None
) -> InferenceResult:
    from lepton_kit.deploy.infer_over import infer_over

    given = RunSettings.from_dict({"workers": {"hosts": read_hosts(hosts)}}).workers.hosts or ()
    found = infer_over(given, model, samples, batch, threads)
    outputs: list[Any] = found.outputs
    if output is not None:
        target = Path(output)
        files = [target] if len(outputs) == 1 else [_numbered(target, place) for place in range(len(outputs))]
        for file, array in zip(files, outputs, strict=True):
            np.save(file, array)
        outputs = [np.load(file, mmap_mode="r") for file in files]
    whole = outputs[0] if len(outputs) == 1 else outputs
    return InferenceResult(whole, found.seconds, found.start_seconds, found.workers, found.parts)


def _numbered(path: Path, place: int) -> Path:
    return path.with_name(f"{path.stem}-{place}{path.suffix}")


def _saved(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


def parts_of(samples: int, workers: int) -> tuple[tuple[int, int], ...]:
    """One (start, stop) a worker, contiguous and complete; no more workers than samples.

    >>> parts_of(10, 3)
    ((0, 4), (4, 7), (7, 10))
    """
    if samples < 1:
        raise CompressionError("data: got no samples; expected at least 1")
    sizes = cut(samples, [1] * min(workers, samples))
    stops = np.cumsum(sizes)
    return tuple((int(stop - size), int(stop)) for size, stop in zip(sizes, stops, strict=True))


class WorkerPool:
    """The worker processes of one inference; a context manager that leaves none behind."""

    def __init__(
        self,
        home: Path,
        model: Path,
        inputs: list[list[Any]],
        parts: tuple[tuple[int, int], ...],
        batch: int,
        threads: int,
    ):
        self.parts = parts
        self.processes: list[subprocess.Popen[bytes]] = []
        self._logs = [home / f"worker-{index}.log" for index in range(len(parts))]
        self._unread = [b""] * len(parts)
        for index, (start, stop) in enumerate(parts):
            request = home / f"worker-{index}.json"
            values = {
                "model": str(model),
                "inputs": inputs,
                "start": start,
                "stop": stop,
                "batch": batch,
                "threads": threads,
            }
            request.write_text(json.dumps(values), encoding="utf-8")
            with open(self._logs[index], "wb") as log:
                self.processes.append(
                    begin(
                        "lepton_kit.deploy.infer_worker",
                        str(request),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        env=child_environment(),
                    )
                )

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):  # what a dead worker did not read any more
                        stream.close()
            process.wait()

    def wait_ready(self) -> list[tuple[tuple[int, ...], np.dtype]]:
        """Wait until every worker has loaded the model; shape and type of each output of a sample."""
        return [(tuple(shape), np.dtype(kind)) for shape, kind in self._gather("ready")[0]["outputs"]]

    def go(self, outputs: Sequence[Path]) -> None:
        """Let all workers predict into files, one an output, and wait; checks that their parts are the ones given out."""
        for index, process in enumerate(self.processes):
            try:
                into = _pipe(process.stdin)
                into.write(f"{json.dumps([str(one) for one in outputs])}\n".encode())
                into.flush()
            except BrokenPipeError:
                self._died(index)
        done = [tuple(answer["done"]) for answer in self._gather("done")]
        if tuple(done) != self.parts:
            raise CompressionError(f"inference: the workers answered for {done}; expected {list(self.parts)}")

    def _gather(self, key: str) -> list[dict[str, Any]]:
        answers: dict[int, dict[str, Any]] = {}
        with selectors.DefaultSelector() as selector:
            for index, process in enumerate(self.processes):
                selector.register(_pipe(process.stdout), selectors.EVENT_READ, index)
            while len(answers) < len(self.processes):
                for found, _ in selector.select():
                    index = found.data
                    content = os.read(found.fd, 65536)
                    if not content:
                        self._died(index)
                    self._unread[index] += content
                    line, newline, rest = self._unread[index].partition(b"\n")
                    if newline:
                        self._unread[index] = rest
                        answers[index] = json.loads(line)
                        selector.unregister(found.fileobj)
        return [answers[index] for index in range(len(self.processes))]

    def _died(self, index: int) -> None:
        code = self.processes[index].wait()
        start, stop = self.parts[index]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        lines = self._logs[index].read_text(errors="replace").strip().splitlines()
        last = f": {lines[-1][:300]}" if lines and code > 0 else ""
        raise CompressionError(f"inference worker {index} (samples {start} to {stop - 1}) {how}{last}")


def _samples(data: Any, split: str) -> Arrays:
    if isinstance(data, np.ndarray | dict | tuple | list):
        return samples_of(data)
    prepared = prepare(data)
    chosen = {"validation": prepared.validation, "train": prepared.train}.get(split)
    if chosen is None:
        raise CompressionError(f"split: got {split!r}; this data has no such split (validation or train)")
    result: np.ndarray | dict[str, np.ndarray] | tuple[np.ndarray, ...] = chosen.x
    return result


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """A pipe of a worker, which was started with one."""
    assert stream is not None
    return stream


def _model_file(subject: Any, home: Path) -> Path:
    if isinstance(subject, str | Path):
        path = Path(subject)
        if path.suffix == ".tflite" and not path.is_file():
            raise CompressionError(f"{subject}: no such LiteRT file")
        try:
            format_of(path)
        except ModelError as failure:
            raise CompressionError(str(failure)) from None
        return path.absolute()
    if is_run(subject):
        return (final_model(subject) or store_model(subject.model(), home)).absolute()
    return store_model(subject, home).absolute()
