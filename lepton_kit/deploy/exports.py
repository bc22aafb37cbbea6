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

from lepton_kit.data.prepared import Split
from lepton_kit.data.structure import first, items, joined
from lepton_kit.deploy.beside import Beside
from lepton_kit.deploy.comparing import HALF_TOLERANCE, TOLERANCE, allowed, compare
from lepton_kit.deploy.modelcard.card import check_folder
from lepton_kit.deploy.runners import of_keras, open_runner, samples_of
from lepton_kit.deploy.splits import first_rows, store_samples
from lepton_kit.deploy.subject import final_model, is_run, prepare, store_model
from lepton_kit.errors import CompressionError, writing
from lepton_kit.models.payload import copy_code
from lepton_kit.processes.isolated import Call, Workshop
from lepton_kit.training import sums

SUFFIXES = {"keras": ".keras", "saved_model": "", "litert": ".tflite", "onnx": ".onnx"}
COMPARED = 16


@dataclass(frozen=True)
class Exported:
    """A file (or folder) that was reloaded: ``difference`` is the largest one found, over ``samples`` samples; beyond
    ``allowed`` the export would have been refused."""

    format: str
    path: Path
    difference: float
    samples: int
    allowed: float = TOLERANCE


def export(
    run_or_model: Any,
    folder: str | Path,
    *,
    formats: str | Sequence[str] = ("keras", "saved_model", "litert"),
    data: Any = None,
    samples: Any = None,
    card: bool = True,
    call: Call | None = None,
) -> dict[str, Exported]:
    """Write the model in every format, reload each file, and compare its outputs with the model in memory.

    With a run, or with the ``data`` that a model was trained on, the folder answers raw input: `lk.load(folder)` finds
    the preprocessing and how outputs read beside the files, and a model card (`card`) with figures on the validation
    split. ``samples`` (rows first; of several inputs by name, or a tuple) are what is compared; else held-out samples of the data, else numbers between 0 and
    1, 0 or 1 for whole numbers. Raises `CompressionError`, and leaves no file, where the outputs differ by more than 1e-4 of the largest one
    (2e-2 where the model computes in half precision, which LiteRT and ONNX don't).
    """
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    for name in formats:
        if name not in SUFFIXES:
            raise CompressionError(f"formats: got {name!r}; expected one of {', '.join(SUFFIXES)}")
        if name == "onnx":
            _need_onnx()
    samples = None if samples is None else samples_of(samples, "samples")
    folder = Path(folder)
    check_folder(folder)
    with writing("folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lepton-export-") as home, Workshop() as workshop:
        run = call or workshop
        model, beside = _subject(run_or_model, data, Path(home))
        given = None
        if samples is None and beside.held is not None:
            samples = first_rows(beside.held, COMPARED)
        if samples is not None and len(first(samples)):  # of held-out samples there may be none
            given = _store(samples, Path(home))
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
            found[name] = Exported(name, path, values["difference"], values["samples"], values["allowed"])

        sums.note(folder, [one.path.name for one in found.values() if one.path.is_file()])

        def raw(preprocessing: Path, wanted: list[str]) -> dict[str, dict[str, Any]]:
            result: dict[str, dict[str, Any]] = run(
                "lepton_kit.deploy.raw_model:write",
                model=str(model.absolute()),
                preprocessing=str(preprocessing.absolute()),
                samples=None if given is None else given[0][1],
                folder=str(folder.absolute()),
                formats=wanted,
            )
            return result

        beside.write(
            folder,
            [*found.values()],
            card,
            lambda split: _outputs(run, model, split, Path(home)),
            raw if given is not None and len(given) == 1 else None,
        )
    return found


def _store(samples: Any, home: Path) -> list[list[Any]]:
    """The first samples as files, each with its input's name or place."""
    found = []
    for place, (key, part) in enumerate(items(samples)):
        path = home / f"samples-{place}.npy"
        np.save(path, np.asarray(part)[:COMPARED])
        found.append([key, str(path)])
    return found


def _subject(subject: Any, data: Any, home: Path) -> tuple[Path, Beside]:
    """The ``.keras`` file of what is exported, and what is known to go beside it."""
    if is_run(subject):
        final = final_model(subject)
        if final is not None:
            return final, Beside.of_run(subject)
        network = subject.model()
        return store_model(network, home), Beside.of_run(subject, network)
    model = store_model(subject, home)
    return model, Beside.of_model(model, prepare(data) if data is not None else None)


def _outputs(call: Call, model: Path, split: Split, home: Path) -> list[np.ndarray]:
    """What the model says of a split's samples, computed in a child process."""
    inputs = store_samples(split, home)
    output = home / "outputs.npz"
    call(
        "lepton_kit.deploy.runners:predict_files",
        model=str(model.absolute()),
        inputs=inputs,
        output=str(output),
    )
    with np.load(output) as found:
        return [found[name] for name in sorted(found.files)]


def export_file(
    model: str, format: str, output: str, samples: Sequence[Sequence[Any]] | None = None
) -> dict[str, Any]:
    """Write, reload and compare in this process; see `export`. ``samples`` are files, each with its input's name or place."""
    from lepton_kit.compression.quantization.convert import load_keras
    from lepton_kit.compression.quantization.deployable import computes_in_half

    network = load_keras(model)
    x = _drawn(network) if samples is None else joined({key: np.load(path) for key, path in samples})
    if isinstance(x, tuple):  # a LiteRT file knows its inputs by name alone
        x = dict(zip((tensor.name for tensor in network.inputs), x, strict=True))
    half = any(computes_in_half(layer) for layer in network._flatten_layers())
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    path = Path(output)
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        WRITERS[format](network, model, part)
        expected = of_keras(network)(x)  # afterwards: a stateful model is written as it came
        got = open_runner(part)(x)
        difference = max(
            compare(one, other, format, tolerance) for one, other in zip(expected, got, strict=True)
        )
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        part.unlink(missing_ok=True)
    limit = max(allowed(one, tolerance) for one in expected)
    return {"difference": difference, "samples": len(first(x)), "allowed": limit}


def _drawn(network: Any) -> Any:
    """Numbers between 0 and 1 in the form of the model's inputs, 0 or 1 where it takes whole numbers."""
    from lepton_kit.compression.quantization.convert import signature_of

    generator = np.random.default_rng(0)
    found = {}
    for name, (shape, dtype) in signature_of(network).inputs.items():
        if dtype == "string":
            raise CompressionError(
                "samples: got none, and the model takes text; give some as samples or data"
            )
        whole = "int" in dtype or dtype == "bool"  # of which a share of 1 would be rounded down to 0
        sizes = (COMPARED, *(size or 8 for size in shape))
        found[name] = (generator.integers(0, 2, sizes) if whole else generator.random(sizes)).astype(dtype)
    return found if len(found) > 1 else found["x"]


def _keras(network: Any, source: str, path: Path) -> None:
    network.save(path)
    copy_code(Path(source), path)


def _saved_model(network: Any, source: str, path: Path) -> None:
    from lepton_kit.compression.quantization.deployable import without_augmentation

    without_augmentation(network).export(str(path), format="tf_saved_model", verbose=False)


def _litert(network: Any, source: str, path: Path) -> None:
    from lepton_kit.compression.quantization.convert import convert_file

    convert_file(source, "float32", str(path))


def _onnx(network: Any, source: str, path: Path) -> None:
    from lepton_kit.compression.quantization.deployable import deployable, structure_of

    _need_onnx()
    model = deployable(network, onnx=True).model
    if getattr(model, "inputs", None):
        model(structure_of(model))  # Keras exports what was called once
    model.export(str(path), format="onnx", verbose=False)


def _need_onnx() -> None:
    missing = [name for name in ("tf2onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise CompressionError(f"onnx: needs {' and '.join(missing)}; install lepton_kit[onnx]")


WRITERS = {"keras": _keras, "saved_model": _saved_model, "litert": _litert, "onnx": _onnx}
