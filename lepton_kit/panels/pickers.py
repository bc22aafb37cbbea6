"""Pickers for the options of a data source, filled from what was found in the file; an error stands beside its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ipywidgets as widgets

from lepton_kit.panels.parts import column, field, on_change, show_problem

SHARES = (0.2, 0.1, 0.3, 0.0)
CHOOSE = "choose …"
NOTHING = ""
"""Stands for None in a picker: a `Dropdown` shows nothing at all for a value of None."""
LABELS = {
    "kind": ("Read as", "what the rows of the file are"),
    "sheet": ("Sheet", "which sheet of the workbook is read"),
    "header": ("First line", "whether it names the columns or is a row of data"),
    "thousands": ("Points", "whether points in numbers stand before decimals or group thousands"),
    "target": ("Target", "the column to predict"),
    "text": ("Text", "the column that holds the texts"),
    "label": ("Label", "the column to predict from the text"),
    "x": ("Samples", "the array of samples, rows first"),
    "y": ("Target", "the array to predict"),
    "tokenizer": ("Tokens", "what a text is cut into: words, characters, or pieces of words"),
    "sequence_length": ("Length", "tokens of a text that the model sees; the rest is cut off"),
    "length": ("Window", "rows of a recording that make one sample"),
    "splits": ("Folders", "what the folders are that spell no split"),
    "on_error": ("Damaged", "what becomes of an image that can't be read"),
    "image_size": ("Image size", "height x width that every image is brought to"),
    "labels": ("Labels", "a table of file names and labels; without one the folders are the classes"),
    "masks": ("Masks", "the folder of masks that the model learns to draw"),
    "held_out": ("Validation", "which rows are kept apart to measure on"),
    "drop": ("Leave out", "columns that the model does not see; Ctrl picks several"),
}
SHOWN = {
    "table": ("kind", "sheet", "header", "thousands", "target", "held_out", "drop"),
    "text": ("kind", "header", "text", "label", "tokenizer", "sequence_length", "held_out"),
    "parquet": ("target", "held_out"),
    "image_folder": ("labels", "masks", "splits", "on_error", "image_size", "held_out"),
    "npz": ("x", "y", "held_out"),
    "windows": ("length",),
}
"""Verb of `lk.data` -> the pickers that it needs."""
SEVERAL = ("drop",)
"""Pickers of which any number may be chosen."""
SAID = {"raise": "stop and name it", "skip": "leave it out and say so"}
FIRST_LINES = {True: "names the columns", False: "is a row of data"}
MARKS = {"": "decimals: 1.234 is 1.234", ".": "thousands: 1.234 is 1234"}
WITHOUT = {
    "image_size": "as they are",
    "labels": "none: folders are classes",
    "masks": "none",
    "splits": "ask",
}
"""What None reads in a picker that may stay without a value."""
USUAL = {"on_error": "raise", "tokenizer": "auto", "sequence_length": "auto", "length": 20}
"""What the verb does where nothing is said."""
KINDS = (("a table", "table"), ("texts", "text"))


class Pickers:
    """The pickers as one widget, ``view``. ``on_choice(options)`` is called when a user picks, not when they are filled."""

    def __init__(self, on_choice: Callable[[dict[str, Any]], None]):
        self.fields = {
            name: field(widgets.SelectMultiple, label, tooltip, options=[], rows=4)
            if name in SEVERAL
            else field(widgets.Dropdown, label, tooltip, options=[])
            for name, (label, tooltip) in LABELS.items()
        }
        self.problems = {name: widgets.HTML("", layout=widgets.Layout(display="none")) for name in LABELS}
        for name, one in self.fields.items():
            one.add_class(f"lk-pick-{name.replace('_', '-')}")
            on_change(one, partial(self._picked, name))
        self._filling = False
        self._on_choice = on_choice
        self.verb = ""
        self.view = column(
            *(widget for name in LABELS for widget in (self.fields[name], self.problems[name])), gap="0"
        )
        self.clear()

    def clear(self) -> None:
        """No file, so nothing to pick."""
        self.verb = ""
        for name in LABELS:
            self.fields[name].layout.display = "none"
            self._complain(name, None)

    def fill(self, description: Any) -> None:
        """Offer what is in the data, with what they are read with now chosen."""
        self._filling = True
        try:
            self.verb = description.verb
            shown = SHOWN.get(self.verb, ())
            for name, one in self.fields.items():
                offered = _offered(name, description) if name in shown else []
                one.layout.display = "" if offered else "none"
                if offered:
                    value = _value(name, description)
                    if name not in SEVERAL and value not in [each for _, each in offered]:
                        offered = [(CHOOSE if value is None else _told(value), value), *offered]
                    one.options = [(label, NOTHING if each is None else each) for label, each in offered]
                    one.value = NOTHING if value is None else value
        finally:
            self._filling = False

    def complain(self, name: str | None, problem: BaseException | None) -> str | None:
        """Show an error beside the field of an option; returns that field's label, None if there is none to see."""
        name = "held_out" if name in ("split", "group", "time", "validation_split") else name
        for one in LABELS:
            self._complain(one, problem if one == name else None)
        seen = problem is not None and name in self.fields and self.fields[name].layout.display != "none"
        return self.fields[name].description if seen and name is not None else None

    def options(self) -> dict[str, Any]:
        """What is picked, as options of `lk.data.read`."""
        shown = [name for name in SHOWN.get(self.verb, ()) if self.fields[name].layout.display != "none"]
        picked: dict[str, Any] = {}
        for name in shown:
            value = self.fields[name].value
            if name == "held_out":
                picked |= dict([value])
            elif value not in (NOTHING, ()):
                picked[name] = value
        return picked

    def lock(self, locked: bool) -> None:
        """A run that trains keeps its data."""
        for one in self.fields.values():
            one.disabled = locked

    def _picked(self, name: str, _: object = None) -> None:
        if self._filling:
            return
        if name == "kind":  # the options of one verb mean nothing to another
            self._on_choice({"kind": self.fields["kind"].value})
        else:
            self._on_choice(self.options())

    def _complain(self, name: str, problem: BaseException | None) -> None:
        show_problem(self.problems[name], problem)


def _offered(name: str, description: Any) -> list[tuple[str, Any]]:
    if name == "kind":
        return list(KINDS)
    choices = description.choices
    if name == "held_out":
        offered: list[tuple[str, Any]] = [
            (
                f"{100 * share:.0f} % of the samples, at random" if share else "nothing",
                ("validation_split", share),
            )
            for share in SHARES
        ]
        offered += [(f"as column {one!r} says", ("split", one)) for one in choices.get("split", ())]
        offered += [(f"the later rows by {one!r}", ("time", one)) for one in choices.get("time", ())]
        offered += [(f"whole groups of {one!r}", ("group", one)) for one in choices.get("group", ())]
        return offered
    if name == "header":
        return [(FIRST_LINES[one], one) for one in choices.get(name, ())]
    if name == "thousands":
        return [(MARKS[next(iter(one.values()))], one) for one in choices.get(name, ())]
    if name == "on_error":
        return [(SAID[one], one) for one in choices.get(name, ())]
    if name in WITHOUT:
        return [(WITHOUT[name] if one is None else _told(one), one) for one in choices.get(name, ())]
    meanings = description.meanings.get(name, {})
    return [(meanings.get(one, str(one)), one) for one in choices.get(name, ())]


def _value(name: str, description: Any) -> Any:
    options: Mapping[str, Any] = description.proposed
    if name == "kind":
        return description.verb
    if name in USUAL:
        return options.get(name, USUAL[name])
    if name == "held_out":
        for option in ("split", "time", "group"):
            if options.get(option) is not None:
                return option, options[option]
        return "validation_split", options.get("validation_split", SHARES[0])
    value = options.get(name, () if name in SEVERAL else None)
    return tuple(value) if isinstance(value, list) else value


def _told(value: Any) -> str:
    if value == "none":
        return "all folders are classes"
    if isinstance(value, dict):
        return "; ".join(
            f"leave out {name!r}" if what == "ignore" else f"{name!r} is for {what}"
            for name, what in value.items()
        )
    if isinstance(value, tuple) and len(value) == 2 and value[0] == "validation_split":
        return f"{100 * value[1]:.0f} % of the samples, at random"
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)
