"""Exports: a Keras file, a SavedModel, LiteRT or ONNX, each reloaded and compared before it counts as exported."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.deploy.subject import is_run, store_model
from lepton_kit.errors import CompressionError
from lepton_kit.models.payload import copy_code
from lepton_kit.processes.isolated import Call, Workshop

SUFFIXES = {"keras": ".keras", "saved_model": "", "litert": ".tflite", "onnx": ".onnx"}
TOLERANCE = 1e-4  # of the largest output; float32 kernels of two runtimes differ by rounding only
COMPARED = 16


@dataclass(frozen=True)
class Exported:
    """A file (or folder) that was reloaded: ``difference`` is the largest one found, over ``samples`` samples."""

    format: str
    path: Path
    difference: float
    samples: int


def export(
    run_or_model: Any,
    folder: str | Path,
    *,
    formats: Sequence[str] = ("keras", "saved_model", "litert"),
    samples: np.ndarray | None = None,
    call: Call | None = None,
) -> dict[str, Exported]:
    """Write the model in every format, reload each file, and compare its outputs with the model in memory.

    ``samples`` (rows first) are what is compared; without them numbers between 0 and 1 are drawn. Raises
    `CompressionError`, and leaves no file, where the outputs differ by more than 1e-4 of the largest one.
    """
    for name in formats:
        if name not in SUFFIXES:
            raise CompressionError(f"formats: got {name!r}; expected one of {', '.join(SUFFIXES)}")
        if name == "onnx":
            _need_onnx()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lepton-export-") as home:
        final = Path(run_or_model.directory) / "final" / "model.keras" if is_run(run_or_model) else None
        if final is not None and not final.is_file():
            run_or_model, final = run_or_model.model(), None
        model = final or store_model(run_or_model, Path(home))
        given = None
        if samples is not None:
            given = str(Path(home) / "samples.npy")
            np.save(given, np.asarray(samples)[:COMPARED])
        with Workshop() as workshop:
            run = call or workshop
            found = {}
            for name in formats:
                path = (folder / f"model{SUFFIXES[name]}").absolute()
                values = run(
                    "lepton_kit.deploy.exports:export_file",
                    model=str(model.absolute()),
                    format=name,
                    output=str(path),
                    samples=given,
                )
                found[name] = Exported(name, path, values["difference"], values["samples"])
    return found


def export_file(model: str, format: str, output: str, samples: str | None = None) -> dict[str, Any]:
    """Write, reload and compare in this process; see `export`."""
    from lepton_kit.compression.quantization.convert import load_keras, single_input

    network = load_keras(model)
    shape, dtype = single_input(network)
    if samples is None:
        size = (COMPARED, *(part or 8 for part in shape))
        x = np.random.default_rng(0).random(size).astype(dtype)
    else:
        x = np.load(samples).astype(dtype)
    expected = np.asarray(network.predict_on_batch(x))
    path = Path(output)
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        got = WRITERS[format](network, model, part, x)
        difference = compare(expected, got, format)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        part.unlink(missing_ok=True)
    return {"difference": difference, "samples": len(x)}


def compare(expected: np.ndarray, got: np.ndarray, format: str) -> float:
    """Largest absolute difference. Raises `CompressionError` above the tolerance or for another shape."""
    if got.shape != expected.shape:
        raise CompressionError(
            f"{format}: the exported model answers {got.shape}; the model answers {expected.shape}"
        )
    difference = float(np.abs(got.astype(np.float64) - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:
        raise CompressionError(
            f"{format}: the reloaded export differs from the model by {difference:.3g} (at most {allowed:.3g}); "
            "it was not kept"
        )
    return difference


def _keras(network: Any, source: str, path: Path, x: np.ndarray) -> np.ndarray:
    from lepton_kit.compression.quantization.convert import load_keras

    network.save(path)
    copy_code(Path(source), path)
    return np.asarray(load_keras(path).predict_on_batch(x))


def _saved_model(network: Any, source: str, path: Path, x: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    network.export(str(path), format="tf_saved_model", verbose=False)
    loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
    return loaded.serve(tf.constant(x)).numpy()


def _litert(network: Any, source: str, path: Path, x: np.ndarray) -> np.ndarray:
    from lepton_kit.compression.quantization.convert import convert_file
    from lepton_kit.compression.quantization.litert import LiteRTModel

    convert_file(source, "float32", str(path))
    return LiteRTModel(path).predict(x)


def _onnx(network: Any, source: str, path: Path, x: np.ndarray) -> np.ndarray:
    _need_onnx()
    import onnxruntime

    network.export(str(path), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def _need_onnx() -> None:
    missing = [name for name in ("tf2onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise CompressionError(f"onnx: needs {' and '.join(missing)}; install lepton_kit[onnx]")


WRITERS = {"keras": _keras, "saved_model": _saved_model, "litert": _litert, "onnx": _onnx}
