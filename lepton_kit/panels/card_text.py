"""A report card told in HTML for the report panel: pure functions from the card to text."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from typing import Any

from lepton_kit.panels.parts import Markup, table
from lepton_kit.panels.telling import number, size
from lepton_kit.planning.estimates import digits
from lepton_kit.rundir import Status

WAITING_FOR_RUN = "Finish or stop a run first: its model is what this works on."
WITH_MODEL = (Status.FINISHED, Status.STOPPED)
OLDER = "This card is older than the run's model, for the run went on since: measure again."
CHIP_COLUMNS = ("luts", "cycles")


def card_table(found: Any) -> str:
    """The rows of a `ReportCard` in short: score, sizes, latency, and the flags in words; tags as tooltips."""
    chip = any(key in line.figures for line in found.rows for key in CHIP_COLUMNS)
    lines = []
    for line in found.rows:
        cells: list[object] = [line.name, line.target]
        if line.error is not None:
            blank = ["–"] * (6 if chip else 4)
            lines.append([*cells, *blank, f"not made: {line.error}"])
            continue
        cells += [
            _figure(line, "score", lambda value: number(value, 4), lambda value: number(value, 3)),
            _figure(line, "file_bytes", kibibytes),
            _figure(line, "gzip_bytes", kibibytes),
            _figure(line, "latency_1_one", digits, digits),
        ]
        if chip:
            cells += [_figure(line, key, lambda value: f"{value:,.0f}") for key in CHIP_COLUMNS]
        chosen = ("the choice of the search",) if line.name == found.best else ()
        lines.append([*cells, "; ".join((*chosen, *line.flags))])
    columns = ["variant", "runs on", f"{found.metric} (95 % interval)", "file (KiB)", "gzip (KiB)"]
    columns += ["latency, batch 1 (ms; middle half)"] + (["LUTs (cells)", "latency (cycles)"] if chip else [])
    return table([*columns, "what to know"], lines, numbers=tuple(range(2, len(columns))))


def describe_row(found: Any, line: Any) -> str:
    """One variant of the front in a sentence."""
    drop = ""
    if found.reference is not None and line.get("score") is not None:
        points = 100 * (line.get("score") - found.reference.get("score"))
        drop = f", {points:+.2f} points against float LiteRT"
    return (
        f"<b>{html.escape(line.name)}</b>: {html.escape(found.metric)} {number(line.get('score'))}{drop}; "
        f"{size(line.get('file_bytes'))}; {milliseconds(line.get('latency_1_one'))} for one sample on one thread (measured)."
        + (f" {html.escape('; '.join(line.flags))}." if line.flags else "")
        + (f"<br>{html.escape(str(found.path(line.name)))}" if line.file and found.folder else "")
    )


def milliseconds(value: float | None) -> str:
    """A time in ms, or in µs where it is short, with three digits.

    >>> milliseconds(1.234), milliseconds(0.00285)
    ('1.23 ms', '2.85 µs')
    """
    if value is None:
        return "unknown"
    return f"{digits(value)} ms" if value >= 0.1 else f"{digits(1000 * value)} µs"


def kibibytes(value: float) -> str:
    """Bytes in KiB, as the tables have them.

    >>> kibibytes(400_000), kibibytes(6_848)
    ('391', '6.7')
    """
    return f"{value / 1024:,.0f}" if value >= 100 * 1024 else f"{value / 1024:.1f}"


def downloads(found: Any, name: str) -> str:
    """Links that save the card as CSV and as JSON; the page holds them, nothing is fetched."""
    links = []
    for ending, kind, text in (
        ("csv", "text/csv", found.to_csv()),
        ("json", "application/json", found.to_json()),
    ):
        coded = base64.b64encode(text.encode()).decode()
        links.append(
            f'<a class="lk-download" download="{html.escape(name)}.{ending}" href="data:{kind};base64,{coded}">{ending.upper()}</a>'
        )
    return f"Save this card: {' · '.join(links)}"


def plot(picture: Any) -> str:
    """A still picture as it stands in a panel, as wide as there is room."""
    if picture is None:
        return ""
    return f'<div class="lk-drawn">{picture.svg}</div><details class="lk-words"><summary>The plot in words</summary>{html.escape(picture.text)}</details>'


def layer_choices(found: Any) -> list[tuple[str, str]]:
    """What each layer of a `Sensitivity` loses when it alone is rounded, as choices (text, layer); the worst first."""
    return [
        (f"{one.layer}: loses {one.lost:.4f} ({one.low:.3f} to {one.high:.3f})", one.layer)
        for one in found.layers
    ]


def _figure(
    line: Any, key: str, tell: Callable[[float], str], tell_end: Callable[[float], str] | None = None
) -> Markup:
    """A figure with its interval where it has one; its origin as a tooltip, and in words unless it was measured."""
    figure = line.figures.get(key)
    if figure is None or figure.value is None:
        why = figure.note if figure is not None else ""
        return Markup(f'<span title="{html.escape(why or "not run")}">–</span>')
    text = tell(figure.value) + ("" if figure.origin == "measured" else " est.")
    if tell_end is not None and figure.low is not None and figure.high is not None:
        text += f" ({tell_end(figure.low)}–{tell_end(figure.high)})"
    return Markup(f'<span title="{html.escape(figure.origin)}">{html.escape(text)}</span>')
