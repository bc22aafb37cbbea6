"""A run as something that answers raw input: its model, the last one or the best, with its own preprocessing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lepton_kit.config import RunConfig
from lepton_kit.data import Dataset
from lepton_kit.deploy import sidecars
from lepton_kit.errors import ConfigError, LeptonError
from lepton_kit.rundir import RunPaths, RunView, Status

if TYPE_CHECKING:
    from lepton_kit.deploy.modelcard.card import ModelCard
    from lepton_kit.deploy.predict import Predictor

MODELS = ("last", "best")


class Run(Protocol):
    """What is asked of `lepton_kit.client.run.Run`, which imports this module."""

    @property
    def paths(self) -> RunPaths:
        """Its files."""

    @property
    def config(self) -> RunConfig:
        """How the run was launched."""

    @property
    def id(self) -> str:
        """Name of its folder."""

    @property
    def directory(self) -> Path:
        """Its folder."""

    @property
    def status(self) -> Status:
        """What it is doing."""

    @property
    def best(self) -> dict[str, Any] | None:
        """The best epoch so far, if any was kept."""

    def model(self) -> Any:
        """The model as it was last saved."""

    def best_model(self) -> Any:
        """The model of the best epoch."""

    def data(self) -> Dataset:
        """The data that it was trained on."""

    def view(self) -> RunView:
        """What its log tells so far."""

    def predictor(self, model: str = "last") -> Predictor:
        """What answers raw input."""


def predictor_of(run: Run, model: str = "last") -> Predictor:
    """The predictor of a run. Loads TensorFlow. Raises `RunError` where there are no weights yet."""
    from lepton_kit.deploy.predict import Predictor
    from lepton_kit.deploy.runners import of_keras

    if model not in MODELS:
        raise ConfigError("model", given=model, rule=f"one of {', '.join(MODELS)}")
    network = run.best_model() if model == "best" else run.model()
    how, read = sidecars.of_run(run, network)

    def file(home: Path) -> Path:
        from lepton_kit.deploy.subject import store_model

        stored = run.paths.final_model
        return stored if model == "last" and stored.is_file() else store_model(network, home)

    return Predictor(
        how, read, of_keras(network), file=file, about=_about(run, model), name=f"{run.id} ({model})"
    )


def stamp(run: Run, model: str) -> tuple[Any, ...]:
    """What changes when a run has other weights to answer with."""
    folder = run.paths.best if model == "best" else run.paths.root / "checkpoints"
    found = [path for path in (run.paths.final_model.parent, folder) if path.exists()]
    return (model, *(path.stat().st_mtime_ns for path in found))


def _about(run: Run, model: str) -> list[str]:
    if model == "best":
        best = run.best
        return [f"weights of epoch {best['epoch']}, the best by {best['quantity']}"] if best else []
    if run.paths.final_model.parent.is_dir():
        return []
    from lepton_kit.training import state

    status, folders = run.status, state.checkpoint_folders(run.paths.checkpoints)
    step = int(folders[-1].name.removeprefix("step-")) if folders else 0
    under_way = "" if status.is_final else ", so this is not its last word"
    return [f"the run is {status}: the checkpoint of step {step} answers{under_way}"]


def report_of(run: Run, model: str = "last", on: Any = None) -> ModelCard:
    """The model card of a run; of a finished one kept in ``final/``, but for that ``on`` given rows. Loads TensorFlow
    where it is made."""
    from lepton_kit.deploy.modelcard.card import ModelCard
    from lepton_kit.deploy.modelcard.given import card_of
    from lepton_kit.deploy.modelcard.sections import FILE

    final = run.paths.final_model.parent
    over = model == "last" and final.is_dir() and on is None
    if over and (final / FILE).is_file():
        return ModelCard.load(final)
    predictor = run.predictor(model)
    try:
        prepared = run.data().prepare()
    except LeptonError:  # the card says so; the model may answer all the same
        prepared = None
    configuration, step = run.config.to_dict(), run.view().step
    card = card_of(predictor, prepared, run.id, on=on, configuration=configuration, step=step)
    if over and prepared is not None:
        with contextlib.suppress(OSError):  # a full disk or a folder that others own costs the copy alone
            card.save(final)
    return card
