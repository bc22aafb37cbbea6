"""`load`: an exported model as something that answers raw input, in any format and without the run that made it."""

from __future__ import annotations

from pathlib import Path

from lepton_kit.deploy import raw_model, sidecars
from lepton_kit.deploy.predict import Predictor
from lepton_kit.deploy.runners import format_of, open_runner
from lepton_kit.errors import ConfigError, ModelError
from lepton_kit.models import trust as trusted
from lepton_kit.models.custom import CODE
from lepton_kit.training import sums

PLACES = {"keras": "model.keras", "saved_model": "model", "litert": "model.tflite", "onnx": "model.onnx"}
"""Format -> the name of its file or folder in a folder of exports, in the order in which they are looked for."""


def load(
    path: str | Path, *, format: str | None = None, threads: int | None = None, trust: bool = False
) -> Predictor:
    """A model with its preprocessing from an export: a folder of `lk.export`, one of its files, or a run's folder.

    ``format`` (keras, saved_model, litert, onnx) picks one of a folder's. LiteRT and ONNX do not load TensorFlow.
    A ``custom.pkl`` beside a ``.keras`` file is code that runs: one from elsewhere is loaded only with ``trust``, and from
    then on. Raises `ModelError` where there is no model, or code that is not trusted, `DataError` where its preprocessing is not beside it,
    `RunError` that names a file which is not as it was written.

    >>> load("missing.keras")
    Traceback (most recent call last):
    ...
    lepton_kit.errors.ModelError: missing.keras: no such file or folder
    """
    model = find(Path(path), format)
    if trust:
        trusted.trust(model)
    elif model.suffix == ".keras":
        trusted.check(model)
    sums.check(model.parent, model.name, CODE)
    how, read = sidecars.read(model)
    return Predictor(
        how, read, open_runner(model, threads), file=lambda home: model.absolute(), name=str(model)
    )


def find(path: Path, format: str | None = None) -> Path:
    """The model file, or SavedModel folder, that a path means. Raises `ModelError`."""
    if format is not None and format not in PLACES:
        raise ConfigError("format", given=format, rule=f"one of {', '.join(PLACES)}")
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        folder = path / "final" if (path / "config.yaml").is_file() else path
        wanted = PLACES if format is None else {format: PLACES[format]}
        for name in wanted.values():
            if (folder / name).is_file() or (folder / name / "saved_model.pb").is_file():
                return folder / name
        raise ModelError(f"{path}: no model in this folder; expected {' or '.join(wanted.values())}")
    if path.name.split(".")[0] == raw_model.NAME:
        raise ModelError(f"{path}: takes raw values itself, in Keras; load {PLACES['keras']} or the folder")
    found = format_of(path)
    if format is not None and found != format:
        raise ModelError(f"{path}: a {found} model; format={format!r} was asked for")
    return path
