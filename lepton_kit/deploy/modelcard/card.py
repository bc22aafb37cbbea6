"""`ModelCard`: made from a model's outputs on held-out samples; shows itself in a notebook, as HTML, Markdown, table."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lepton_kit.data.prepared import PreparedData
from lepton_kit.data.preprocessing import Preprocessing, Target
from lepton_kit.data.structure import items
from lepton_kit.deploy import sidecars, splits
from lepton_kit.deploy.modelcard import samples, show
from lepton_kit.deploy.modelcard.judge import judge
from lepton_kit.deploy.modelcard.sections import FILE, DataFacts, Facts, OutputCard, load
from lepton_kit.errors import ConfigError, DataError, writing
from lepton_kit.models.answers import Answer

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("lepton-kit", "tensorflow", "keras", "numpy")
SUFFIXES = ("html", "md", "json")
ALWAYS = (
    "Intervals are 95 % and cover which samples were held out, not another training of the model.",
    "Inputs unlike the training data (another source, time or group) may be answered worse than these figures say.",
)


class ModelCard:
    """A model's figures on held-out samples, with what it learned from and what the figures don't show.

    ``facts`` hold everything. In a notebook the card shows itself; `save` writes it as HTML, `table` gives the figures
    of each class (of a regression the metrics) as a frame.
    """

    def __init__(self, facts: Facts):
        self.facts = facts

    def __repr__(self) -> str:
        first = [metric for output in self.facts.outputs for metric in output.metrics[:1]]
        told = ", ".join(f"{one.name} {one.value:.4g}" for one in first if one.value is not None)
        if not self.facts.split:
            return f"<ModelCard {self.facts.name}: no figures, as there are no held-out samples>"
        held = self.facts.data.validation_samples
        kind = "given" if self.facts.split == "given" else "held-out"
        return f"<ModelCard {self.facts.name}: {told or 'no figures'} on {held} {kind} samples>"

    def _repr_html_(self) -> str:
        return show.html(self.facts)

    def to_markdown(self) -> str:
        """The card as text: facts, metrics with intervals, figures of classes, limits."""
        return show.markdown(self.facts)

    def table(self, output: int = 0) -> pd.DataFrame:
        """One row a class: precision, recall, F1, support, with intervals; of a regression one row a metric.

        No rows where there are no figures; ``facts.limits`` say why.
        """
        import pandas as pd

        chosen = self._output(output)
        if chosen is None or not chosen.classes:
            return self.metrics(output)
        rows = [
            {
                "class": one.name,
                "precision": one.precision.value,
                "precision low": one.precision.low,
                "precision high": one.precision.high,
                "recall": one.recall.value,
                "recall low": one.recall.low,
                "recall high": one.recall.high,
                "f1": one.f1,
                "support": one.support,
            }
            for one in chosen.classes
        ]
        return pd.DataFrame(rows).set_index("class")

    def metrics(self, output: int = 0) -> pd.DataFrame:
        """One row a metric: value, the ends of its 95 % interval, the interval's method, and the baseline's value.

        No rows where there are no figures; ``facts.limits`` say why.
        """
        import pandas as pd

        chosen = self._output(output)
        if chosen is None:
            names = ["value", "low", "high", "interval", "baseline"]
            return pd.DataFrame(columns=names, index=pd.Index([], name="metric"))
        usual = {metric.name: metric.value for metric in chosen.baseline}
        rows = [
            {
                "metric": one.name,
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "interval": one.how,
                "baseline": usual.get(one.name),
            }
            for one in chosen.metrics
        ]
        return pd.DataFrame(rows).set_index("metric")

    def confusion(self, output: int = 0) -> pd.DataFrame | None:
        """The confusion matrix, true classes as rows, answers as columns; None where there is none."""
        import pandas as pd

        chosen = self._output(output)
        if chosen is None or chosen.confusion is None:
            return None
        names = [one.name for one in chosen.classes]
        return pd.DataFrame(chosen.confusion, index=names, columns=names)

    def _output(self, output: int) -> OutputCard | None:
        """The figures of one output; None where no output has any. Raises `ConfigError` for a number that is not there."""
        count = len(self.facts.outputs)
        if not count:
            return None
        if isinstance(output, bool) or not isinstance(output, int) or not -count <= output < count:
            raise ConfigError("output", given=output, rule=f"the number of an output, from 0 to {count - 1}")
        return self.facts.outputs[output]

    def save(self, path: str | Path) -> Path:
        """Write the card: to a folder as ``card.json``, ``card.md`` and ``card.html``, or to one file by its suffix.

        Raises `ConfigError` for a file of another suffix and where it can't be written, and `DataError` for a folder that holds the report card of a
        compression, which has the same file name.
        """
        path = Path(path)
        texts = {
            "json": self.facts.to_json,
            "md": self.to_markdown,
            "html": lambda: show.page(self.facts),
        }
        suffix = path.suffix[1:].lower()
        if suffix in texts and not path.is_dir():
            text = texts[suffix]()
            with writing("path", path):
                path.parent.mkdir(parents=True, exist_ok=True)
                sidecars.put(path, text)
            return path
        check_place(path)
        check_folder(path)
        made = {suffix: text() for suffix, text in texts.items()}
        with writing("path", path):
            path.mkdir(parents=True, exist_ok=True)
            for suffix, told in made.items():
                sidecars.put(path / f"card.{suffix}", told)
        return path

    @classmethod
    def load(cls, path: str | Path) -> ModelCard:
        """The card of a folder or ``card.json``. Raises `DataError`."""
        path = Path(path)
        return cls(load(path / FILE if path.is_dir() else path))

    def replace(self, **changes: Any) -> ModelCard:
        """A card with some facts changed."""
        return ModelCard(self.facts.model_copy(update=changes))


def check_place(path: str | Path) -> None:
    """Raise `ConfigError` for what is neither a folder nor a file that a card can be written to."""
    path = Path(path)
    suffix = path.suffix[1:].lower()
    is_file = path.exists() and not path.is_dir()
    named = bool(suffix) and not suffix.isdigit()  # v1.2 is a folder's name
    if suffix not in SUFFIXES and not path.is_dir() and (is_file or named):
        raise ConfigError(
            "path",
            given=str(path),
            rule=f"a folder, or a file that ends in {', '.join(map('.{}'.format, SUFFIXES))}",
        )


def check_folder(folder: Path) -> None:
    """Raise `DataError` where a model card would replace the report card of a compression."""
    path = folder / FILE
    if path.is_file() and '"rows"' in path.read_text(encoding="utf-8", errors="replace")[:4096]:
        raise DataError(f"{folder}: holds the report card of a compression ({FILE}); choose another folder")


def make_card(
    name: str,
    outputs: Sequence[np.ndarray] | None,
    prepared: PreparedData | None,
    how: Preprocessing,
    answers: Sequence[Answer],
    *,
    configuration: Mapping[str, Any] | None = None,
    step: int | None = None,
    limits: Sequence[str] = (),
    split: Literal["validation", "given"] = "validation",
) -> ModelCard:
    """The card of a model: ``outputs`` are what it says of the validation split's samples, in order.

    ``split="given"``: the samples are rows that were given, which chose nothing in the run. Without data or a validation split the card has no figures and says so.
    """
    held = prepared.validation if prepared is not None else None
    configuration = dict(configuration or {})
    found: list[OutputCard] = []
    said = [*limits, *(answer.note for answer in answers if answer.note)]
    if held is None or outputs is None or not len(held):
        said.append(
            "No figures: the run had no validation split (validation_split=0), so nothing is known of new input."
            if prepared is not None and (held is None or not len(held))
            else "No figures: the data could not be opened."
        )
    else:
        assert prepared is not None
        if held.w is not None:
            said.append("The held-out samples have weights; these figures count each sample once.")
        if configuration.get("training", {}).get("keep_best") and split == "validation":
            said.append("The same held-out samples chose the best epoch, so the figures flatter a little.")
        said += ALWAYS
        show_row = samples.shown(prepared)
        alone = len(outputs) == 1
        held_y, train = splits.targets(held), splits.targets(prepared.train, whole=False)
        for place, output in enumerate(outputs):
            answer = answers[place] if place < len(answers) else Answer(task="other")
            target = how.target if alone else Target()
            y, train_y = (_target(one, place, answer, alone) for one in (held_y, train))
            found.append(judge(answer, target, output, y, train_y, show_row))
    return ModelCard(
        Facts(
            name=name,
            created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            step=step,
            split=split if found else None,
            data=_data(prepared, how, configuration),
            outputs=tuple(found),
            configuration=configuration,
            versions=_versions(),
            limits=tuple(said),
        )
    )


def _target(y: Any, place: int, answer: Answer, alone: bool) -> Any:
    """The targets of one output."""
    parts = dict(items(y))
    if answer.name in parts and not alone:
        return parts[answer.name]
    if len(parts) == 1:
        return next(iter(parts.values())) if alone else None
    return parts.get(place)


def _data(prepared: PreparedData | None, how: Preprocessing, configuration: Mapping[str, Any]) -> DataFacts:
    kind = configuration.get("data", {}).get("kind") or how.kind
    if prepared is None:
        return DataFacts(kind=kind, class_names=how.target.class_names)
    held = prepared.validation
    return DataFacts(
        fingerprint=prepared.fingerprint,
        kind=kind,
        training_samples=len(prepared.train) or None,
        validation_samples=len(held) if held is not None else 0,
        class_names=prepared.class_names,
        notes=prepared.notes,
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
