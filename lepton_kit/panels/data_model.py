"""The data and model panel: what to train on, a glance at it, and the size of the network."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.errors import DataError, LeptonError, ModelError
from lepton_kit.panels.background import Background
from lepton_kit.panels.glance import glance
from lepton_kit.panels.parts import Panel, card, field, framed, note, on_change, set_html

OWN = "own file or folder"
GIVEN = "given in Python"


class DataModelPanel(Panel):
    """Picks a bundled sample, an own file, or what Python gave; and the width and depth of a `LeptonModel`."""

    def __init__(self, data: Any = None, model: Any = None, sample: str = "digits"):
        super().__init__()
        self.given_data, self.given_model = data, model
        choices = ([GIVEN] if data is not None else []) + sample_names() + [OWN]
        self.source = field(
            widgets.Dropdown, "Data", "a bundled real data set, or your own", options=choices,
            value=GIVEN if data is not None else sample if sample in choices else choices[0],
        )  # fmt: skip
        self.path = field(
            widgets.Text, "Path", "a folder or zip file of images in class folders, or a file of arrays or a table",
            placeholder="../my_images.zip", continuous_update=False,
        )  # fmt: skip
        self.hidden_size = field(
            widgets.IntSlider, "Hidden size", "units of a layer: more can learn more, and cost more", value=64, min=8,
            max=256, step=8, continuous_update=False,
        )  # fmt: skip
        self.num_layers = field(
            widgets.IntSlider, "Layers", "layers of the network before its output", value=3, min=1, max=8,
            continuous_update=False,
        )  # fmt: skip
        self.look = note("")
        self.look.add_class("lk-glance")
        self.model_note = note("")
        self.dataset: Any = None
        self._reading = Background(self._read, self._show)
        on_change(self.source, lambda _: self.refresh())
        on_change(self.path, lambda _: self.refresh())
        for widget in (self.hidden_size, self.num_layers):
            on_change(widget, lambda _: self._describe_model())
            widget.disabled = model is not None
        self.view = framed(
            card(
                "Data and model", self.source, self.path, self.look, self.hidden_size, self.num_layers, self.model_note,
                self.problem,
            )
        )  # fmt: skip
        self.refresh()

    def __repr__(self) -> str:
        return f"<DataModelPanel: {self.source.value}>"

    def refresh(self) -> None:
        """Read the chosen data, in the background."""
        self.path.layout.display = "" if self.source.value == OWN else "none"
        if self.source.value == OWN and not self.path.value.strip():
            set_html(self.look, "Name a folder or a zip file with one folder of images for each class.")
            return
        set_html(self.look, "reading …")
        self._reading.start((self.source.value, self.path.value.strip()))

    @property
    def prepared(self) -> Any:
        """The chosen data, ready to train on; waits until they are read. Raises what reading them raised."""
        if self.source.value == OWN and not self.path.value.strip():
            raise DataError("data.path: got ''; expected a file or folder")
        return self._reading.result()[1]

    @property
    def data(self) -> Any:
        """The chosen `Dataset`, as `lepton_kit.launch` takes it."""
        return self._reading.result()[0] if self.prepared is not None else None

    @property
    def model(self) -> Any:
        """The model that suits the data, or the one that Python gave."""
        if self.given_model is not None:
            return self.given_model
        return model_for(self.prepared, self.hidden_size.value, self.num_layers.value)

    def lock(self, locked: bool) -> None:
        """A run that trains keeps its data and model: the choices wait."""
        for widget in (self.source, self.path):
            widget.disabled = locked
        for widget in (self.hidden_size, self.num_layers):
            widget.disabled = locked or self.given_model is not None

    def close(self) -> None:
        self._reading.join()
        super().close()

    def _read(self, chosen: tuple[str, str]) -> tuple[Any, Any]:
        source, path = chosen
        dataset = (
            self.given_data if source == GIVEN else open_data(path) if source == OWN else open_sample(source)
        )
        prepared = dataset.prepare() if hasattr(dataset, "prepare") else dataset
        return dataset, prepared

    def _show(self, result: tuple[Any, Any] | None, failure: BaseException | None) -> None:
        self.complain(failure)
        if failure is not None:
            set_html(self.look, "")
            return
        set_html(self.look, glance(result[1]))
        self._describe_model(result[1])

    def _describe_model(self, prepared: Any = None) -> None:
        try:
            if self.given_model is not None:
                text = f"{GIVEN}: {self.given_model!r}"
            else:
                text = repr(
                    model_for(prepared or self.prepared, self.hidden_size.value, self.num_layers.value)
                )
        except LeptonError as failure:
            self.complain(failure)
            return
        set_html(self.model_note, f"<code>{html.escape(text)}</code>")


def sample_names() -> list[str]:
    """Names of the bundled samples that are present; none where they are missing."""
    from lepton_kit import data

    try:
        return list(data.samples())
    except DataError:
        return []


def open_sample(name: str) -> Any:
    """The `Dataset` of a bundled sample."""
    from lepton_kit import data

    return data.sample(name)


def open_data(path: str) -> Any:
    """A `Dataset` for a path that a user typed, by what it is. Raises `DataError`."""
    from lepton_kit import data

    suffix = Path(path).suffix.lower()
    if suffix == ".npz":
        return data.npz(path)
    if suffix in (".csv", ".tsv", ".txt"):
        raise DataError(
            f"{path}: a table needs to know its target column: Workbench(data=lk.data.table({path!r}, target=...))"
        )
    return data.image_folder(path)


def model_for(prepared: Any, hidden_size: int, num_layers: int) -> Any:
    """A `LeptonModel` that fits the data. Raises `ModelError` for a task that it can't do."""
    from lepton_kit.models import LeptonModel

    if prepared.task == "classification":
        return LeptonModel(
            prepared.sample_shape,
            prepared.num_classes,
            hidden_size,
            num_layers,
            vocabulary_size=prepared.vocabulary_size,
        )
    if prepared.task == "regression":
        width = prepared.train.y.shape[1] if prepared.train.y.ndim > 1 else 1
        return LeptonModel(prepared.sample_shape, width, hidden_size, num_layers, task="regression")
    raise ModelError(
        "these data are neither labels nor numbers to predict: give a Keras model, Workbench(model=..., data=...)"
    )
