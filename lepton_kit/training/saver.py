"""Writes what a run leaves behind: checkpoints beside training, the best epoch's weights, the final model."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.data.prepared import PreparedData
from lepton_kit.errors import FULL, LeptonError, RunError, why_not_written
from lepton_kit.rundir.held import named
from lepton_kit.training import beside, logged, messages, state, sums
from lepton_kit.training.handover import Handed
from lepton_kit.training.validation import Validation

CALLBACKS = "callbacks.pkl"
UNFINISHED = ".final"
NICER = 10
"""Than training is what writes beside it: the sums of a large model's state take seconds of a core."""


class Saver:
    """Checkpoints of one worker; ``send`` tells the driver of each that is written, or was not."""

    def __init__(self, send: Callable[[messages.FromWorker], None]):
        self._send = send
        self._thread: threading.Thread | None = None
        self._saved = 0
        self._last = time.monotonic()

    def due(self, seconds: float) -> bool:
        """Whether the last checkpoint is so long ago."""
        return time.monotonic() - self._last >= seconds

    def restart_clock(self) -> None:
        """Count the time to the next checkpoint from now."""
        self._last = time.monotonic()

    def save(
        self,
        folder: Path,
        step: int,
        variables: Sequence[Any],
        history: np.ndarray,
        callbacks: bytes,
        *,
        logged_epochs: int,
        background: bool,
    ) -> None:
        """Write a checkpoint of a step that has none yet, at once or beside training."""
        self.restart_clock()
        if self._saved == step > 0:
            return
        if self._thread is not None:
            if background and self._thread.is_alive():
                return
            self._thread.join()
        arrays = state.drained(state.capture(variables))
        arguments = (folder, step, arrays, history, callbacks, logged_epochs)
        if background:
            self._thread = beside.begin(partial(self._write, *arguments), NICER)
        else:
            self._write(*arguments)

    def _write(
        self,
        folder: Path,
        step: int,
        arrays: Iterable[np.ndarray],
        history: np.ndarray,
        callbacks: bytes,
        logged_epochs: int,
    ) -> None:
        try:
            path = state.save_checkpoint(
                folder / "checkpoints",
                step,
                arrays,
                history,
                extras={CALLBACKS: callbacks},
                logged_epochs=logged_epochs,
            )
        except OSError as failure:
            text = f"checkpoint at step {step} was not written: {failure}"
            self._send(logged.Warned(text=named(text)))
            return
        self._saved = step
        self._send(logged.Saved(step=step, path=f"checkpoints/{path.name}"))

    def save_best(self, folder: Path, variables: Sequence[Any], **about: Any) -> None:
        """Keep these weights as the best so far: ``best/`` in the form of a checkpoint."""
        try:
            state.save_checkpoint(
                folder / "best",
                about["step"],
                state.drained(state.capture(variables)),
                np.zeros((0, state.HISTORY_COLUMNS)),
                keep=1,
                **{name: value for name, value in about.items() if name != "step"},
            )
        except OSError as failure:
            text = f"the best weights, of epoch {about['epoch']}, were not written: {failure}"
            self._send(logged.Warned(text=named(text)))

    def tell_predictions(self, folder: Path, validation: Validation, epoch: int, step: int) -> None:
        """What the model said of the validation split: into the log, and all of it beside that."""
        try:
            validation.keep(folder, step)
        except OSError as failure:
            self._send(logged.Warned(text=named(f"the counts of all classes were not written: {failure}")))
        self._send(validation.told(epoch, step))


def load(folder: Path, variables: Sequence[Any]) -> Handed:
    """Give the variables what a checkpoint holds. Raises `RunError` naming what is damaged or does not fit."""
    step, arrays, meta = state.load_checkpoint(folder)
    state.restore(variables, arrays, str(folder))
    history = state.history_array(state.load_history(folder))
    return Handed(step, int(meta["logged_epochs"]), history, state.load_extra(folder, CALLBACKS))


def save_final(
    folder: Path, model: Any, variables: Sequence[Any], callbacks: bytes, data: PreparedData
) -> None:
    """Write the trained model, its variables with the optimizer's, and what callbacks remember, into ``final/``.

    Also what a prediction needs beside the model: the preprocessing of its data, and how its outputs read. The
    folder is there whole or not at all. Raises `RunError` where the disk is full.
    """
    target, unfinished = folder / "final", folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _save_final(unfinished, model, variables, callbacks, data)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(unfinished, target)
    except BaseException as failure:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(failure, OSError) and failure.errno in FULL:
            why = why_not_written(failure, folder)
            raise RunError(named(f"{target}: the trained model can't be stored ({why})")) from None
        raise


def _save_final(
    target: Path, model: Any, variables: Sequence[Any], callbacks: bytes, data: PreparedData
) -> None:
    from lepton_kit import models
    from lepton_kit.models import metrics

    target.mkdir(mode=0o700, exist_ok=True)
    files: dict[str, Callable[[Any], Any]] = {
        state.FINAL: lambda file: state.write_arrays(file, state.capture(variables)),
        CALLBACKS: lambda file: file.write(callbacks),
    }
    with contextlib.suppress(
        LeptonError, ValueError
    ):  # a prediction will find it out from the data, or say why not
        files |= {name: _text(text) for name, text in _sidecars(model, data).items()}
    for name, write in files.items():
        temporary = target / f".{name}.{os.getpid()}"
        state.write(temporary, write)
        os.replace(temporary, target / name)
    metrics.without(model)
    models.store(model, target)
    sums.note(target, sorted(file.name for file in target.iterdir()))


def _sidecars(model: Any, data: PreparedData) -> dict[str, str]:
    """File name -> text: the preprocessing of the data, and how the model's outputs read."""
    from lepton_kit.data.preprocessing import SIDECAR
    from lepton_kit.models import answers
    from lepton_kit.training.reading import how_read

    preprocessing, read, _ = how_read(model, data)
    return {SIDECAR: preprocessing.to_json(), answers.FILE: answers.to_json(read)}


def _text(text: str) -> Callable[[Any], Any]:
    return lambda file: file.write(text.encode())
