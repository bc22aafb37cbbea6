"""The files beside a model that let it answer raw input: its preprocessing, and how its outputs read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_kit.data import preprocessing
from lepton_kit.data.array_input import preprocessing_of
from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.preprocessing import Preprocessing
from lepton_kit.errors import DataError
from lepton_kit.models import answers
from lepton_kit.models.answers import Answer
from lepton_kit.models.description import FILE as DESCRIPTION
from lepton_kit.models.description import description
from lepton_kit.training import sums

INSIDE = "assets.extra"
"""The folder of a SavedModel for files that TensorFlow leaves alone."""


def write(folder: Path, how: Preprocessing, read: tuple[Answer, ...]) -> None:
    """Write both files into a folder, each whole or not at all, and note their sums."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((preprocessing.SIDECAR, how.to_json()), (answers.FILE, answers.to_json(read))):
        put(folder / name, text)
    sums.note(folder, (preprocessing.SIDECAR, answers.FILE))


def put(path: Path, text: str) -> None:
    """Write a text file under another name, then replace."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def home_of(model: Path) -> Path:
    """The folder with the sidecars of a model: inside a SavedModel or beside the file. Raises `DataError`."""
    for folder in (model / INSIDE, model.parent):
        if (folder / preprocessing.SIDECAR).is_file():
            return folder
    raise DataError(
        f"{model}: there is no {preprocessing.SIDECAR} beside it, so raw input can't become samples; "
        "copy the whole folder that lk.export or `lepton export` wrote from a run"
    )


def read(model: Path) -> tuple[Preprocessing, tuple[Answer, ...]]:
    """(preprocessing, how outputs read) of a model file or SavedModel folder. Raises `DataError`, `RunError` for damaged ones."""
    folder = home_of(model)
    sums.check(folder, preprocessing.SIDECAR, answers.FILE)
    return preprocessing.load(folder / preprocessing.SIDECAR), answers.load(folder / answers.FILE)


def of_run(run: Any, network: Any = None) -> tuple[Preprocessing, tuple[Answer, ...]]:
    """(preprocessing, how outputs read) of a run: stored with its model, else found out from its data.

    ``network`` is its model in memory, for a run that is not over.
    """
    final = Path(run.directory) / "final"
    if (final / preprocessing.SIDECAR).is_file() and (final / answers.FILE).is_file():
        return read(final / "model")
    if network is not None:
        from lepton_kit.models.description import describe

        prepared = run.data().prepare()
        return of_data(prepared, describe(network, prepared.train.part(slice(0, 1)).x))
    sums.check(final, DESCRIPTION)
    return of_data(run.data().prepare(), description({"kind": "keras", "path": "model.keras"}, final))


def of_data(prepared: PreparedData, described: Mapping[str, Any]) -> tuple[Preprocessing, tuple[Answer, ...]]:
    """The same for prepared data and the description of a model (`lepton_kit.models.description`)."""
    how = preprocessing_of(prepared)
    return how, answers.answers(described, how.target, prepared.train.y)


def remove(folder: Path) -> None:
    """Take sidecars away that belong to another model."""
    for name in (preprocessing.SIDECAR, answers.FILE):
        (folder / name).unlink(missing_ok=True)
