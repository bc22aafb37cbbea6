"""A form of one row: a field for each column that a model reads, filled and bounded by its own preprocessing."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lepton_kit.data.preprocessing import Input, Preprocessing
from lepton_kit.deploy.frames import PROBLEM
from lepton_kit.errors import ConfigError
from lepton_kit.panels.parts import (
    PALETTE,
    Markup,
    Panel,
    card,
    columns,
    field,
    framed,
    note,
    on_change,
    set_html,
    table,
)

NOTHING, OTHER = "not known", "something else"
"""What a choice offers beside the known texts: no value, and one that training never saw."""


class InputForm(Panel):
    """Fill in one row, see the model's answer at once, and what was done with values unlike the training rows.

    ``subject`` is a finished run, a path of an export, or what `lk.load` gave. Fields, choices, ranges and first values
    (the typical ones) come from its preprocessing, or from ``row`` (column -> value; None: not known). Empty boxes count
    as missing. ``row`` and ``answer`` read the form, `set` fills it; a script asks ``predict([row])`` for the same.
    """

    def __init__(self, subject: Any, row: Mapping[str, Any] | None = None):
        super().__init__()
        if isinstance(subject, str | Path):
            from lepton_kit.deploy import load

            subject = load(subject)
        how: Preprocessing = getattr(subject, "preprocessing", None) or subject.predictor().preprocessing
        self.subject, self.answer = subject, None
        self.inputs = how.row_fields()
        if not self.inputs:
            raise ConfigError("subject", given=how.kind, rule="a model of a table, which has fields")
        self.fields: dict[str, Any] = {one.name: _widget(one) for one in self.inputs}
        self.result, self.remarks = note(), note()
        self.result.add_class("lk-answer")
        half = (len(self.inputs) + 1) // 2
        boxes = [*self.fields.values()]
        sides = [
            widgets.VBox(part, layout=widgets.Layout(overflow="hidden"))
            for part in (boxes[:half], boxes[half:])
        ]
        self.view = framed(card("One row", columns(*sides), self.problem, self.result, self.remarks))
        self._silent = False
        for one in self.fields.values():
            on_change(one, lambda _: self.ask())
        self.set(**{str(name): value for name, value in (row or {}).items()})

    def __repr__(self) -> str:
        if self.answer is None:
            return f"<InputForm: {len(self.inputs)} fields, no answer>"
        told = ", ".join(f"{name} {_figure(value)}" for name, value in self.answer.iloc[0].items())
        return f"<InputForm: {len(self.inputs)} fields -> {told}>"

    @property
    def row(self) -> dict[str, Any]:
        """The row as it stands in the form; None for what is not known."""
        return {name: None if one.value in ("", None) else one.value for name, one in self.fields.items()}

    def set(self, **values: Any) -> InputForm:
        """Fill in some fields and ask the model; None is a missing value. Raises `ConfigError` for another name."""
        for name in values:
            if name not in self.fields:
                raise ConfigError(
                    name, given=values[name], rule=f"one of the fields {', '.join(self.fields)}"
                )
        self._silent = True
        try:
            for name, value in values.items():
                one, text = self.fields[name], _text(value) or ""
                if hasattr(one, "options") and text not in [known for _, known in one.options]:
                    one.options = (*one.options, (text, text))
                one.value = text
        finally:
            self._silent = False
        self.ask()
        return self

    def ask(self) -> None:
        """Have the row answered as it stands."""
        if self._silent:
            return
        with self.reporting():
            self.answer = None
            self.answer = self.subject.predict([self.row])
        problem = None if self.answer is None else self.answer.iloc[0].get(PROBLEM)
        if problem is not None:
            self.complain(problem)
        set_html(self.result, "" if self.complaint else _answer(self.answer))
        set_html(self.remarks, "" if self.answer is None else _notes(self.answer))


def _widget(one: Input) -> Any:
    if one.kind in ("category", "boolean"):
        options = [*((text, text) for text in one.choices), (NOTHING, ""), (OTHER, OTHER)]
        return field(
            widgets.Dropdown,
            one.name,
            _about(one),
            options=options,
            value=one.typical if one.typical in one.choices else "",
        )
    ends = "" if one.low is None else f"{one.low} to {one.high}{' ' + one.unit if one.unit else ''}"
    return field(
        widgets.Text,
        one.name,
        _about(one),
        value=_text(one.typical) or "",
        placeholder=ends or NOTHING,
        continuous_update=False,
    )


def _about(one: Input) -> str:
    known = f"training rows: {one.low} to {one.high}; " if one.low is not None else ""
    lacking = "some training rows lacked it" if one.may_be_missing else "no training row lacked it"
    return f"{one.name} ({one.kind}); {known}{lacking}"


def _text(value: Any) -> str | None:
    if value is None or value != value or value == "":
        return None
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _answer(answer: Any) -> str:
    """Probabilities as bars, or values."""
    first = answer.iloc[0]
    each = {
        name.removeprefix("probability_"): float(value)
        for name, value in first.items()
        if name.startswith("probability_")
    }
    if not each:
        return table([str(name) for name in answer.columns], [[_figure(value) for value in first]])
    lines = [
        [name, Markup(_bar(value, PALETTE[place % len(PALETTE)])), f"{value:.1%}"]
        for place, (name, value) in enumerate(sorted(each.items(), key=lambda pair: -pair[1]))
    ]
    return table(["answer", "probability", ""], lines, numbers=(2,))


def _bar(share: float, colour: str) -> str:
    return f'<div style="min-width:min(220px,24vw)"><div style="width:{max(0.5, 100 * share):.1f}%;min-width:1px;height:12px;border-radius:3px;background:{colour}"></div></div>'


def _notes(answer: Any) -> str:
    notes = [text.replace(" (1 of 1 inputs)", "") for text in answer.attrs.get("notes", [])]
    return "".join(f"<div>{html.escape(text)}</div>" for text in notes)
