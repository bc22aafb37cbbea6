"""`Description`: what was understood of data, what was left out, and what looks wrong; as text, HTML and a data set."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lepton_kit.errors import DataError


@dataclass(frozen=True)
class Column:
    """A column of a table: what kind it is, how many of the rows looked at lack it, and examples of its values."""

    name: str
    kind: str
    missing: int
    distinct: int
    examples: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Description:
    """What `describe` found. Print it, show it in a notebook, or launch its `dataset`.

    ``code`` is the call that reads the data. ``facts`` are what was understood, name -> text. ``classes`` counts the
    samples to train on, ``held_out`` those of validation. ``left_out`` and ``problems`` are sentences: what is not
    used or was changed and why, and what looks wrong. ``verb`` is the function of `lk.data` that reads them, with the options
    ``proposed``; ``choices`` are values to pick from, option -> values, and ``meanings`` what such values mean where
    they don't say it themselves, option -> value -> text. ``failure`` says why
    the data can't be trained on as they are; None if they can. ``concerns`` is the option that would help, if one would.
    """

    source: str
    kind: str
    code: str
    facts: Mapping[str, str]
    verb: str = ""
    columns: tuple[Column, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    held_out: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    meanings: Mapping[str, Mapping[Any, str]] = field(default_factory=dict)
    proposed: Mapping[str, Any] = field(default_factory=dict)
    preview: str = ""
    prepared: Any = None
    failure: DataError | None = None
    concerns: str | None = None
    read: Any = None

    @property
    def dataset(self) -> Any:
        """The `Dataset`, ready to launch. Raises the `DataError` that says what is missing for that."""
        if self.failure is not None:
            raise self.failure
        return self.read

    def __repr__(self) -> str:
        state = "ready to launch" if self.failure is None else "not ready to launch"
        return f"<Description: {self.source}, {self.kind}, {state}>"

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.kind}", f"  {self.code}"]
        lines += [f"  {name}: {value}" for name, value in self.facts.items()]
        if self.columns:
            width = min(28, max(len(one.name) for one in self.columns))
            lines.append("columns:")
            lines += [
                f"  {one.name:<{width}}  {one.kind:<12}  {_missing(one)}{', '.join(one.examples)}"
                for one in self.columns
            ]
        if self.classes:
            read = self.prepared is not None
            lines.append("classes (training + validation):" if read else "classes (rows looked at):")
            lines += [
                f"  {name}: {count:,}" + (f" + {self.held_out.get(name, 0):,}" if read else "")
                for name, count in list(self.classes.items())[:MOST_SHOWN]
            ]
            if len(self.classes) > MOST_SHOWN:
                lines.append(f"  and {len(self.classes) - MOST_SHOWN} more")
        for title, sentences in (("how it was read:", self.left_out), ("looks wrong:", self.problems)):
            if sentences:
                lines += [title, *(f"  {sentence}" for sentence in sentences)]
        if self.failure is not None:
            lines += ["not ready to launch:", f"  {self.failure}"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """What was found as plain types, for JSON; without preview and data."""
        return {
            "source": self.source,
            "kind": self.kind,
            "code": self.code,
            "facts": dict(self.facts),
            "columns": [asdict(one) for one in self.columns],
            "classes": dict(self.classes),
            "held_out": dict(self.held_out),
            "left_out": list(self.left_out),
            "problems": list(self.problems),
            "failure": str(self.failure) if self.failure is not None else None,
        }

    def _repr_html_(self) -> str:
        return f"{STYLE}<div class='lk-described'>{self.to_html()}</div>"

    def to_html(self, brief: bool = False) -> str:
        """The same without a style; ``brief`` folds the tables and leaves out the failure, which a panel shows itself."""
        facts = " · ".join(f"{_text(name)} <b>{_text(value)}</b>" for name, value in self.facts.items())
        failure = [str(self.failure)] if self.failure is not None and not brief else []
        parts = [
            f"<div><b>{_text(self.source)}</b>: {_text(self.kind)}</div>",
            f"<div><code>{_text(self.code)}</code></div>",
            f"<div class='lk-facts'>{facts}</div>",
            self.preview,
            _list("lk-wrong", "Not ready", failure),
            _list("lk-wrong", "Looks wrong", self.problems),
            _list("", "How it was read", self.left_out),
        ]
        for name, rows, table in (
            ("classes", self.classes, self._classes_table),
            ("columns", self.columns, self._columns_table),
        ):
            if rows:
                parts.append(_details(f"{len(rows)} {name}", table(), not brief and len(rows) <= MOST_OPEN))
        return "".join(parts)

    def _classes_table(self) -> str:
        top = max([*self.classes.values(), 1])
        read = self.prepared is not None
        rows = "".join(
            f"<tr><td>{_text(name)}</td><td class='lk-number'>{count:,}</td>"
            + (f"<td class='lk-number'>{self.held_out.get(name, 0):,}</td>" if read else "")
            + f"<td class='lk-share'><div style='width:{100 * count / top:.0f}%'></div></td></tr>"
            for name, count in list(self.classes.items())[:MOST_SHOWN]
        )
        names = ("class", "training", "validation", "") if read else ("class", "rows looked at", "")
        return _table(names, rows, numbers=(1, 2) if read else (1,))

    def _columns_table(self) -> str:
        rows = "".join(
            f"<tr><td>{_text(one.name)}</td><td>{_text(one.kind)}</td><td class='lk-number'>{one.missing:,}</td>"
            f"<td class='lk-number'>{one.distinct:,}</td><td>{_text(', '.join(one.examples))}</td></tr>"
            for one in self.columns[:MOST_SHOWN]
        )
        return _table(("column", "kind", "missing", "different", "examples"), rows, numbers=(2, 3))


MOST_SHOWN = 60
MOST_OPEN = 12
STYLE = """<style>
.lk-described{font-size:13px;line-height:1.5;color:var(--jp-ui-font-color1,inherit)}
.lk-described table{border-collapse:collapse;font-size:12px;margin:4px 0}
.lk-described th,.lk-described td{padding:2px 12px 2px 0;text-align:left!important}
.lk-described .lk-number{text-align:right!important}
.lk-described .lk-share{width:140px}.lk-described .lk-share div{height:8px;border-radius:2px;background:#3d85c6}
.lk-described .lk-wrong{border-left:3px solid #c2740c;padding-left:8px;margin:4px 0}
.lk-described ul{margin:0;padding-left:18px}
.lk-described img{height:56px;margin:2px 4px 2px 0;border-radius:3px;image-rendering:pixelated}
.lk-described .lk-preview{overflow-x:auto;margin:4px 0}
.lk-described .lk-preview td,.lk-described .lk-preview th{white-space:nowrap}
.lk-described .lk-sentences{list-style:none;padding:0}
.lk-described .lk-sentences b{opacity:.75;font-weight:600;margin-left:6px}
.lk-described .lk-plots{display:flex;flex-wrap:wrap;gap:4px 12px}
.lk-described figure{margin:0}.lk-described figcaption{font-size:11px;opacity:.8}
.lk-described summary{cursor:pointer}
.lk-described code{background:none;color:inherit;overflow-wrap:anywhere}
</style>"""


def _text(value: Any) -> str:
    return html.escape(str(value))


def _missing(column: Column) -> str:
    return f"{column.missing:,} missing  " if column.missing else ""


def _list(name: str, title: str, sentences: Any) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f"<div class='{name}'><b>{title}</b><ul>{items}</ul></div>"


def _table(names: tuple[str, ...], rows: str, numbers: tuple[int, ...] = ()) -> str:
    head = "".join(
        f"<th{' class=lk-number' if place in numbers else ''}>{_text(name)}</th>"
        for place, name in enumerate(names)
    )
    return f"<table class='lk-table'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _details(title: str, content: str, opened: bool) -> str:
    return f"<details{' open' if opened else ''}><summary>{_text(title)}</summary>{content}</details>"
