"""The data and model panel: what to train on, what was understood of it, and the size of the network."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from functools import partial
from inspect import isroutine
from typing import Any

import ipywidgets as widgets

from lepton_kit.errors import DataError, LeptonError, ModelError
from lepton_kit.panels.background import Background
from lepton_kit.panels.browse import Browse
from lepton_kit.panels.described import described
from lepton_kit.panels.drop import Drop
from lepton_kit.panels.number import Number
from lepton_kit.panels.parts import (
    Markup,
    Panel,
    card,
    column,
    field,
    framed,
    note,
    on_change,
    row,
    set_html,
    show_problem,
)
from lepton_kit.panels.paths import completions, shown
from lepton_kit.panels.pickers import Pickers
from lepton_kit.panels.pump import Debounced
from lepton_kit.panels.shown_run import of_run, repeated, told_origin
from lepton_kit.panels.telling import reading

OWN = "own file or folder"
GIVEN = "given in Python"
READ_AFTER_SECONDS = 0.6
"""A path that is being typed is looked at when the typing has rested this long."""
TELL_SECONDS = 0.5
CARD = "Data and model"
NO_PATH = "type a path, browse, or drop a file or folder"


class DataModelPanel(Panel):
    """Picks a bundled sample, an own file, or what Python gave; and the width and depth of a `LeptonModel`.

    An own file is typed, browsed to or dropped into the page; its options are picked from what is in it.
    """

    def __init__(self, data: Any = None, model: Any = None, sample: str = "digits"):
        super().__init__()
        # Said in Python, where it was given, and not in the panel's thread.
        if isroutine(data) or isinstance(data, partial | type):
            name = getattr(data, "__name__", type(data).__name__)
            raise DataError(f"data: got {name!r} itself, not what it gives; call it: data={name}(…)")
        self.given_data, self.given_model = data, model
        self.shown_run: Any = None
        self._locked = False
        choices = ([GIVEN] if data is not None else []) + sample_names() + [OWN]
        self.source = field(
            widgets.Dropdown, "Data", "a bundled real data set, or your own", options=choices,
            value=GIVEN if data is not None else sample if sample in choices else choices[0],
        )  # fmt: skip
        self.path = field(
            widgets.Combobox, "Path", "a table, or a folder or archive of images, texts or arrays; counts from the notebook",
            placeholder="data/houses.csv", ensure_option=False,
            layout=widgets.Layout(flex="1 1 180px", min_width="0", width="auto"),
        )  # fmt: skip
        self.path.add_class("lk-path")
        self.browsing = widgets.ToggleButton(
            value=False, description="Browse", tooltip="walk through the folders",
            layout=widgets.Layout(width="78px", flex="0 0 auto"),
        )  # fmt: skip
        self.browse = Browse(self._chosen)
        self.drop = Drop(lambda path: self._chosen(shown(path)), self._complain_of_path)
        self.path_problem = widgets.HTML("", layout=widgets.Layout(display="none"))
        self.path_problem.add_class("lk-path-problem")
        self.pickers = Pickers(self._read_with)
        where = row(self.path, self.browsing)
        where.layout.flex_flow, where.layout.max_width = "row nowrap", "460px"
        self.own = column(where, self.path_problem, self.browse.view, self.drop.widget, gap="4px")
        self.hidden_size = field(
            Number, "Hidden size", "units of a layer: more can learn more, and cost more", value=64, min=1,
            max=256, step=1, whole=True, slided=True,
        )  # fmt: skip
        self.num_layers = field(
            Number, "Layers", "layers of the network before its output", value=3, min=1, max=8, whole=True, slided=True,
        )  # fmt: skip
        self.look = note("")
        self.look.add_class("lk-glance")
        self.model_note = note("")
        self._where: str | None = None
        """The label at which an error of the data stands; everything else only points there."""
        self._request = 0
        self._listeners: list[Callable[[], None]] = []
        self._reading = Background(self._read, self._show)
        self._soon = Debounced(lambda _: self.refresh(), READ_AFTER_SECONDS)
        on_change(self.source, lambda _: self.refresh())
        on_change(self.path, self._typed)
        on_change(self.browsing, self.browse.toggle)
        for widget in (self.hidden_size, self.num_layers):
            on_change(widget, lambda _: self._describe_model())
        self.view = framed(
            card(
                CARD, self.source, self.own, self.pickers.view, self.look, self.hidden_size, self.num_layers,
                self.model_note, self.problem,
            )
        )  # fmt: skip
        self.path.options = completions("")
        self.refresh()

    def __repr__(self) -> str:
        return f"<DataModelPanel: {self.source.value}>"

    def on_update(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` whenever the data or the model have changed, or whether they can be trained."""
        self._listeners.append(listener)

    def refresh(self) -> None:
        """Read the chosen data, in the background, with the options that suit what is in them."""
        self._read_with({})

    def ready(self, timeout: float | None = 60.0) -> DataModelPanel:
        """Wait until the data are read and shown."""
        self._reading.settled(timeout)
        return self

    def show_run(self, run: Any) -> None:
        """Show what a run trains on and what it trains; Start repeats it until something else is picked."""
        old, self.shown_run = self.shown_run, run
        options = [one for one in self.source.options if old is None or one != of_run(old)]
        spec = run.config.model
        if spec.kind == "lepton":
            for field_of_size, size in (
                (self.hidden_size, spec.hidden_size),
                (self.num_layers, spec.num_layers),
            ):
                field_of_size.show(size)
        self._soon.cancel()
        self.source.options = [of_run(run), *(one for one in options if one != of_run(run))]
        self.source.value = of_run(run)
        self.refresh()

    @property
    def shows_run(self) -> bool:
        """Whether the choice is what the shown run trains on."""
        return self.shown_run is not None and self.source.value == of_run(self.shown_run)

    @property
    def _sized_here(self) -> bool:
        """Whether width and depth of the model are chosen here."""
        if self.shows_run:
            return bool(self.shown_run.config.model.kind == "lepton")
        return self.given_model is None

    @property
    def waits_for(self) -> str | None:
        """What must be chosen or put right before a run can start, or the field whose red text says it; None if nothing."""
        if self._lacks_path:
            return NO_PATH
        if self._reading.busy or self._soon.waiting:
            return "reading the data …"
        try:
            found = self._reading.result()
            if found.dataset is not None and (self.shows_run or self.given_model is None):
                self._model_of(found.prepared)
        except Exception:
            return f"see {self._where or CARD}"
        return None

    @property
    def choice(self) -> tuple[Any, ...]:
        """What is picked, to be compared with what was picked before."""
        picked = tuple(sorted(self.pickers.options().items(), key=lambda one: one[0]))
        return self.source.value, self.path.value, picked, self.hidden_size.value, self.num_layers.value

    @property
    def description(self) -> Any:
        """What is known of the chosen data; waits until they are read. Raises what reading them raised."""
        self._soon.flush()
        if self._lacks_path:
            raise DataError(f"data.path: got ''; {NO_PATH}")
        return self._reading.result()

    @property
    def prepared(self) -> Any:
        """The chosen data, ready to train on; waits until they are read. Raises what reading them raised."""
        found = self.description
        return found.prepared if found.dataset is not None else None

    @property
    def data(self) -> Any:
        """The chosen `Dataset`, as `lepton_kit.launch` takes it."""
        found = self.description
        if self.shows_run:
            return self.shown_run.data()
        return self.given_data if self.source.value == GIVEN and found.dataset else found.dataset

    @property
    def model(self) -> Any:
        """The model that suits the data, or the one that Python gave."""
        if self.given_model is not None and not self.shows_run:
            return self.given_model
        return self._model_of(self.prepared)

    def _model_of(self, prepared: Any) -> Any:
        """A `LeptonModel` of this size for these data, or as the shown run has it. Raises `ModelError` if it can't be."""
        if self.shows_run:
            return repeated(self.shown_run, self.hidden_size.value, self.num_layers.value)
        return model_for(prepared, self.hidden_size.value, self.num_layers.value)

    def lock(self, locked: bool) -> None:
        """A run that trains keeps its data and model: the choices wait."""
        for widget in (self.source, self.path, self.browsing, self.browse.names):
            widget.disabled = locked
        self.drop.widget.locked = locked
        self.pickers.lock(locked)
        self._locked = locked
        self._lock_sizes()

    def _lock_sizes(self) -> None:
        for widget in (self.hidden_size, self.num_layers):
            widget.disabled = self._locked or not self._sized_here

    def close(self) -> None:
        """End what works in the background, and the widgets."""
        self._soon.cancel()
        self._reading.join()
        super().close()

    @property
    def _lacks_path(self) -> bool:
        return self.source.value == OWN and not self.path.value.strip()

    def _typed(self, typed: str) -> None:
        self.path.options = completions(typed)
        self._soon(None)

    def _chosen(self, path: str) -> None:
        """A path that was browsed to or dropped."""
        self.source.value = OWN
        self.path.value = path
        self._soon.flush()

    def _read_with(self, options: dict[str, Any]) -> None:
        self._soon.cancel()
        self._lock_sizes()
        self.own.layout.display = "" if self.source.value == OWN else "none"
        self._complain_of_path(None)
        self._where = None
        if not options:
            self.pickers.clear()
        if self._lacks_path:
            set_html(self.look, "")
            set_html(self.model_note, "")
            self.complain(None)
            self._tell()
            return
        set_html(self.look, "reading …")
        self._request += 1
        self._reading.start((self.source.value, self.path.value.strip(), options))
        self._tell()

    def _read(self, chosen: tuple[str, str, dict[str, Any]]) -> Any:
        from lepton_kit import data

        source, path, options = chosen
        request, begun, shown_at = self._request, time.monotonic(), time.monotonic()

        def tell(done: int, total: int) -> None:
            nonlocal shown_at
            now = time.monotonic()
            if request == self._request and now - shown_at >= TELL_SECONDS:
                shown_at = now
                set_html(self.look, reading(done, total, now - begun))

        if self.shown_run is not None and source == of_run(self.shown_run):
            return data.describe(self.shown_run.data(), progress=tell)
        if source == GIVEN:
            return data.describe(self.given_data, progress=tell)
        return data.describe(path if source == OWN else data.sample(source), progress=tell, **options)

    def _show(self, found: Any, failure: BaseException | None) -> None:
        try:
            self._show_found(found, failure)
        except Exception as wrong:  # nobody waits for this thread, so the panel itself must say it
            set_html(self.look, "")
            self.complain(wrong)
            raise

    def _show_found(self, found: Any, failure: BaseException | None) -> None:
        self.complain(None)
        self._where = None
        if failure is not None:
            self.pickers.clear()
            set_html(self.look, "")
            set_html(self.model_note, "")
            self._complain_of_data(failure)
            self._tell()
            return
        if self.source.value == OWN:
            self.pickers.fill(found)
        self._where = self.pickers.complain(found.concerns, found.failure)
        if self._where is None and found.failure is not None:
            self._complain_of_data(found.failure)
        origin = Markup("") if not self.shows_run else told_origin(self.shown_run)
        set_html(self.look, origin + described(found, self._where))
        if found.failure is None:
            self._describe_model(found.prepared)
        else:
            set_html(self.model_note, "")
        self._tell()

    def _complain_of_data(self, failure: BaseException) -> None:
        """An error that no picker is about: at the path, or at the foot of the card where there is none."""
        if self.source.value == OWN:
            self._where = self.path.description
            self._complain_of_path(failure)
        else:
            self._where = CARD
            self.complain(failure)

    def _complain_of_path(self, failure: BaseException | None) -> None:
        show_problem(self.path_problem, failure)

    def _describe_model(self, prepared: Any = None) -> None:
        if prepared is None and (self._where is not None or self._lacks_path or self._reading.busy):
            return  # an error stands where it belongs; data that are being read describe the model themselves
        self.complain(None)
        try:
            if self.shows_run and not self._sized_here:
                text = f"the Keras model of {self.shown_run.id}"
            elif self.given_model is not None and not self.shows_run:
                text = f"{GIVEN}: {self.given_model!r}"
            else:
                text = repr(self._model_of(prepared or self.prepared))
        except LeptonError as failure:
            self.complain(failure)
            text = ""
        set_html(self.model_note, f"<code>{html.escape(text)}</code>" if text else "")
        if prepared is None:
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def sample_names() -> list[str]:
    """Names of the bundled samples that are present; none where they are missing."""
    from lepton_kit import data

    try:
        return list(data.samples())
    except DataError:
        return []


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
