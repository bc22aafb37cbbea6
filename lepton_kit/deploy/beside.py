"""What goes beside exported files: the preprocessing, how outputs read, and the model card."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lepton_kit.data.prepared import PreparedData, Split
from lepton_kit.data.preprocessing import SIDECAR, Preprocessing
from lepton_kit.deploy import raw_model, sidecars
from lepton_kit.deploy.modelcard.card import ModelCard, make_card
from lepton_kit.deploy.modelcard.sections import FILE
from lepton_kit.errors import DataError, LeptonError
from lepton_kit.models.answers import Answer
from lepton_kit.models.description import description


class Export(Protocol):
    """What is told of an exported file."""

    @property
    def format(self) -> str:
        """Name of the number format."""

    @property
    def path(self) -> Path:
        """The exported file."""

    @property
    def difference(self) -> float:
        """Largest difference of an output from Keras."""

    @property
    def samples(self) -> int:
        """Samples that were compared."""

    @property
    def allowed(self) -> float:
        """Largest difference that counts as equal."""


@dataclass(frozen=True)
class Beside:
    """What is known of an exported model beside its weights; all None of a model alone."""

    how: Preprocessing | None = None
    answers: tuple[Answer, ...] = ()
    prepared: PreparedData | None = None
    name: str = "model"
    configuration: dict[str, Any] = field(default_factory=dict)
    step: int | None = None
    stored: Path | None = None

    @property
    def held(self) -> Split | None:
        """The validation split."""
        return self.prepared.validation if self.prepared is not None else None

    @classmethod
    def of_run(cls, run: Any, network: Any = None) -> Beside:
        """Of a run, also where its data can't be opened any more, if it has finished."""
        how, read = sidecars.of_run(run, network)
        try:
            prepared = run.data().prepare()
        except LeptonError:
            prepared = None
        final = Path(run.directory) / "final"
        return cls(
            how,
            read,
            prepared,
            run.id,
            run.config.to_dict(),
            run.view().step,
            final if network is None and final.is_dir() else None,
        )

    @classmethod
    def of_model(cls, model: Path, prepared: PreparedData | None) -> Beside:
        """Of a ``.keras`` file: from the data given, or as it lies beside the file; else nothing."""
        if prepared is not None:
            described = description({"kind": "keras", "path": model.name}, model.parent)
            return cls(*sidecars.of_data(prepared, described), prepared, model.stem)
        try:
            return cls(*sidecars.read(model), name=model.stem)
        except DataError:
            return cls()

    def write(
        self,
        folder: Path,
        found: Sequence[Export],
        card: bool,
        outputs: Callable[[Split], list[np.ndarray]],
        raw: Callable[[Path, list[str]], dict[str, dict[str, Any]]] | None = None,
    ) -> None:
        """Write what is known beside the files ``found``.

        ``outputs`` computes what the model says of a split; ``raw`` writes the model with its preprocessing as layers,
        from the file of the preprocessing and in some formats; None where there are no samples to compare it on.
        """
        homes = [folder, *(one.path / sidecars.INSIDE for one in found if one.format == "saved_model")]
        raw_model.remove(folder)
        if self.how is None:
            for home in homes:
                sidecars.remove(home)
            return
        for home in homes:
            sidecars.write(home, self.how, self.answers)
        formats: dict[str, dict[str, Any]] = {
            one.format: {"difference": one.difference, "samples": one.samples, "allowed": one.allowed}
            for one in found
        }
        said = raw_model.said(self.how)
        wanted: list[str] = [name for name in ("keras", "saved_model") if name in formats]
        if raw_model.can(self.how) and wanted:
            try:
                made = raw(folder / SIDECAR, wanted) if raw is not None else {}
                formats |= {f"{raw_model.NAME} ({name})": values for name, values in made.items()}
                said = said if made else raw_model.left_out("there were no samples to compare it on")
            except LeptonError as failure:  # a model without that file is worth more than none
                said = raw_model.left_out(str(failure))
        if card:
            self._card(outputs).replace(formats=formats, preprocessing=said).save(folder)

    def _card(self, outputs: Callable[[Split], list[np.ndarray]]) -> ModelCard:
        if self.stored is not None and (self.stored / FILE).is_file():
            return ModelCard.load(self.stored)
        assert self.how is not None
        found = outputs(self.held) if self.held is not None and len(self.held) else None
        card = make_card(
            self.name,
            found,
            self.prepared,
            self.how,
            self.answers,
            configuration=self.configuration,
            step=self.step,
        )
        if self.stored is not None and self.prepared is not None:
            with contextlib.suppress(OSError):
                card.save(self.stored)
        return card
