"""Batch inference over hosts: each gets the model once and its part of the rows, and answers over the same connection."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from lepton_kit.data.sharding import cut
from lepton_kit.data.structure import Arrays, first, items
from lepton_kit.errors import CompressionError, RunError
from lepton_kit.hosts import HostSpec
from lepton_kit.models import trust
from lepton_kit.runtime.hosts.launchers import launch_command
from lepton_kit.runtime.hosts.versions import differences

PROGRAM = "lepton_kit.deploy.infer_host"
CODE = ("custom.pkl", "model.pkl")


@dataclass(frozen=True)
class Over:
    """What hosts have answered: the outputs in the order of the samples, and which host had which."""

    outputs: list[np.ndarray]
    seconds: float
    start_seconds: float
    workers: int
    parts: tuple[tuple[int, int], ...]


def infer_over(
    hosts: Sequence[HostSpec], model: Path, samples: Arrays, batch: int, threads: int | None
) -> Over:
    """Predict all samples on these hosts, each a contiguous part by its slots and speed.

    Raises `CompressionError` that names the host and its samples, or `RunError` for a host that would compute something
    else, and ends the others.
    """
    for host in hosts:
        if host.via == "spark" or host.is_allocation:
            raise CompressionError(
                f"hosts: got {host.name}; expected hosts that ssh reaches, or this machine"
            )
    trust.check(model)
    count = len(first(samples))
    if count < 1:
        raise CompressionError("data: got no samples; expected at least 1")
    sizes = cut(count, [host.slots * host.speed for host in hosts])
    stops = np.cumsum(sizes)
    places = [
        _Place(host, int(stop - size), int(stop))
        for host, size, stop in zip(hosts, sizes, stops, strict=True)
        if size
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(len(places)) as pool:
        try:
            _all(pool, [place.greet for place in places])
            ready = time.perf_counter()
            found = _all(pool, [_asking(place, model, samples, batch, threads) for place in places])
            seconds = time.perf_counter() - ready
        finally:
            for place in places:  # the pool then waits for nobody
                place.close()
    outputs = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    slots = sum(place.host.slots for place in places)
    return Over(outputs, seconds, ready - began, slots, tuple((place.start, place.stop) for place in places))


def _asking(place: _Place, model: Path, samples: Arrays, batch: int, threads: int | None) -> Any:
    return lambda: place.ask(model, samples, batch, threads or place.host.threads)


def _all(pool: ThreadPoolExecutor, jobs: Sequence[Any]) -> list[Any]:
    """What all jobs return. Raises what the first one that fails raises, without waiting for the others."""
    under_way = [pool.submit(job) for job in jobs]
    for one in as_completed(under_way):
        one.result()
    return [one.result() for one in under_way]


class _Place:
    """One host at work on its part."""

    def __init__(self, host: HostSpec, start: int, stop: int):
        self.host, self.start, self.stop = host, start, stop
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed with the place
        self._process = subprocess.Popen(
            launch_command(host, PROGRAM), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said
        )

    @property
    def _in(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def greet(self) -> None:
        """Wait until it is there. Raises `RunError` if it would compute something else."""
        if different := differences(self._line()["versions"]):
            raise RunError(f"{self.host.name}: would compute something else: {'; '.join(different)}")

    def ask(self, model: Path, samples: Arrays, batch: int, threads: int | None) -> list[np.ndarray]:
        """Send model and rows, and wait for the outputs of these rows."""
        files = dict(_files(model))
        rows = {
            f"rows/{place}.npy": (key, np.ascontiguousarray(part[self.start : self.stop]))
            for place, (key, part) in enumerate(items(samples))
        }
        encoded = {name: _npy(array) for name, (_, array) in rows.items()}
        header = {
            "files": [*((name, path.stat().st_size) for name, path in files.items()),
                      *((name, len(data)) for name, data in encoded.items())],
            "model": f"model/{model.name}",
            "inputs": [(key, name) for name, (key, _) in rows.items()],
            "workers": self.host.slots, "batch": batch, "threads": threads,
        }  # fmt: skip
        with self._telling():
            self._in.write(json.dumps(header).encode() + b"\n")
            for path in files.values():
                with open(path, "rb") as file:
                    shutil.copyfileobj(file, self._in, 1 << 20)
            for data in encoded.values():
                self._in.write(data)
            self._in.flush()
        answer = self._line()
        if "error" in answer:
            raise CompressionError(f"{self._named()}: {answer['error']}")
        return [self._array(shape, np.dtype(kind)) for shape, kind in answer["outputs"]]

    def _array(self, shape: list[int], kind: np.dtype) -> np.ndarray:
        if shape[0] != self.stop - self.start:
            raise CompressionError(f"{self._named()}: answered for {shape[0]} samples")
        size = int(np.prod(shape)) * kind.itemsize
        data = self._out.read(size)
        if len(data) != size:
            self._gone()
        return np.frombuffer(data, kind).reshape(shape)

    def _line(self) -> dict[str, Any]:
        line = self._out.readline()
        if not line.endswith(b"\n"):
            self._gone()
        found: dict[str, Any] = json.loads(line)
        return found

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (BrokenPipeError, ConnectionResetError):
            self._gone()

    def _named(self) -> str:
        return f"inference on {self.host.name} (samples {self.start} to {self.stop - 1})"

    def _gone(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        raise CompressionError(f"{self._named()} ended: {lines[-1][:300] if lines else 'without a word'}")

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _files(model: Path) -> Iterator[tuple[str, Path]]:
    """Name -> file of a model: a folder, or a file with the code that lies beside it."""
    if model.is_dir():
        for path in sorted(model.rglob("*")):
            if path.is_file():
                yield f"model/{model.name}/{path.relative_to(model)}", path
        return
    yield f"model/{model.name}", model
    for name in CODE:
        beside = model.with_name(name)
        if beside != model and beside.is_file():
            yield f"model/{name}", beside


def _npy(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array, allow_pickle=False)
    return held.getvalue()
