"""How a comparison is shown: a plotly figure, tables as text, and a page of both."""

from __future__ import annotations

import html as escaping
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lepton_kit import drawing
from lepton_kit.client.compare_picture import COLOURS, POINTS, Compared
from lepton_kit.deploy.report.show import neutral
from lepton_kit.rundir.decimate import thin

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

STYLE = (
    ".lk-compare table{border-collapse:collapse;font-size:13px;margin:4px 0 14px}"
    ".lk-compare th,.lk-compare td{text-align:left;padding:3px 14px 3px 0;border-bottom:1px solid rgba(127,127,127,.3)}"
    ".lk-compare .wide{overflow-x:auto}.lk-compare caption{text-align:left;font-weight:600;padding:4px 0}"
    ".lk-compare ul{margin:4px 0 10px;padding-left:18px}"
)


class Told(Compared, Protocol):
    """What is shown of a `Comparison`."""

    @property
    def notes(self) -> list[str]:
        """What is to be known of all."""
        ...

    def options(self) -> pd.DataFrame:
        """What differs."""
        ...

    def figures(self) -> pd.DataFrame:
        """The last figures."""
        ...

    def cards(self) -> pd.DataFrame:
        """The compressed models."""
        ...


MAIN = ("file size (bytes)", "latency, batch 1, one thread (ms)", "latency, batch 32, one thread (ms)")
"""What a comparison shows of report cards, beside the score; `Comparison.cards` has all of it."""


def draw(
    found: Told, quantities: Sequence[str], x: str, smoothing: float, log_x: bool, log_y: bool
) -> go.Figure:
    """One plot a quantity, one colour a run. Under a smoothed curve the plain one is faint."""
    from plotly.subplots import make_subplots

    columns = min(2, len(quantities))
    rows = -(-len(quantities) // columns)
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=[_title(name) for name in quantities],
        horizontal_spacing=0.08, vertical_spacing=0.18 / max(rows - 1, 1),
    )  # fmt: skip
    for place, quantity in enumerate(quantities):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        for name, dash in ((quantity, "solid"), (f"val_{quantity}", "dash")):
            if name in found.quantities:
                _curves(figure, found, name, x, smoothing, dash, where)
    neutral(figure)
    figure.update_layout(
        height=320 * rows + 60,
        hovermode="closest",
        legend={"orientation": "h", "y": -0.16 / rows, "yanchor": "top"},
    )
    figure.update_xaxes(title_text=x if x != "seconds" else "seconds since the run began", title_standoff=4)
    if log_x:
        figure.update_xaxes(type="log")
    if log_y:
        figure.update_yaxes(type="log")
    return figure


def _curves(
    figure: go.Figure,
    found: Told,
    name: str,
    x: str,
    smoothing: float,
    dash: str,
    where: dict[str, int],
) -> None:
    table = found.curves(name, x=x, smoothing=smoothing)
    for place, run in enumerate(found.names):
        rows = table[table["run"] == run]
        line = {"color": COLOURS[place % len(COLOURS)], "dash": dash, "width": 1.8}
        shown = {
            "legendgroup": run,
            "name": drawing.short(run),
            "line": line,
            "mode": "lines+markers" if len(rows) < 13 else "lines",
        }
        hover = f"%{{y:.4g}} at {x} %{{x:,.4g}}<extra>{escaping.escape(run)}, {name}</extra>"
        known = any(trace.legendgroup == run and trace.showlegend for trace in figure.data)
        if smoothing > 0:
            faint = _thinned(rows[x], rows["value"])
            figure.add_scatter(
                **faint,
                **shown | {"mode": "lines"},
                opacity=0.25,
                showlegend=False,
                hoverinfo="skip",
                **where,
            )
        points = _thinned(rows[x], rows["smoothed"])
        figure.add_scatter(**points, **shown, showlegend=not known, hovertemplate=hover, **where)


def _thinned(x: pd.Series, y: pd.Series) -> dict[str, Any]:
    """Plain numbers without gaps: plotly draws none where one is missing."""
    across, up = thin(np.asarray(x, np.float64), np.asarray(y, np.float64), POINTS)
    good = np.isfinite(across) & np.isfinite(up)
    return {"x": across[good], "y": up[good]}


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def markdown(found: Told) -> str:
    """Notes and tables as Markdown."""
    parts = []
    for title, heads, rows in _tables(found):
        if not rows:
            parts += [f"{title}.", ""]
            continue
        parts += [f"### {title}", "", _row(heads), _row(["---"] * len(heads)), *map(_row, rows), ""]
    return "\n".join([*parts, *(f"- {note}" for note in found.notes)]) + "\n"


def html(found: Told) -> str:
    """Notes and tables as HTML; every text is escaped."""
    parts = [f"<style>{STYLE}</style>", '<div class="lk-compare">']
    for title, heads, rows in _tables(found):
        if not rows:
            parts.append(f"<p>{escaping.escape(title)}.</p>")
            continue
        head = "".join(f'<th scope="col">{escaping.escape(text)}</th>' for text in heads)
        body = "".join(
            f'<tr><th scope="row">{escaping.escape(first)}</th>'
            + "".join(f"<td>{escaping.escape(text)}</td>" for text in rest)
            + "</tr>"
            for first, *rest in rows
        )
        parts.append(
            f'<div class="wide"><table><caption>{escaping.escape(title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
    notes = "".join(f"<li>{escaping.escape(note)}</li>" for note in found.notes)
    return "".join([*parts, f"<ul>{notes}</ul></div>"])


def page(found: Told, figure: go.Figure) -> str:
    """A whole page that needs no network."""
    title = escaping.escape(" · ".join(found.names))
    drawn = figure.to_html(full_html=False, include_plotlyjs=True)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><style>:root{color-scheme:light dark}'
        "body{font:15px system-ui,sans-serif;max-width:1100px;margin:24px auto;padding:0 16px}</style></head>"
        f"<body><h1>{title}</h1>{drawn}{html(found)}</body></html>"
    )


Table = tuple[str, list[str], list[list[str]]]


def _tables(found: Told) -> list[Table]:
    """Titles, headings and cells of all tables that have something to say."""
    tables = [("Last figures, with 95 % intervals", *_cells(found.figures()))]
    options = found.options()
    if len(options):
        tables.append(("What differs in the configurations", *_cells(options)))
    else:
        tables.append(("The configurations do not differ", [], []))
    cards = found.cards()
    if len(cards):
        kept = [name for name in cards.columns if name in MAIN or name in _scores(cards)]
        rows = [
            [run, variant, *(_cell(value) for value in line)]
            for (run, variant), line in zip(cards.index, cards[kept].itertuples(index=False), strict=True)
        ]
        tables.append(("Compressed models, from the report cards", ["run", "variant", *kept], rows))
    return tables


def _scores(cards: pd.DataFrame) -> list[str]:
    """The column of the score goes by its metric; its interval stands in two columns beside it."""
    return [
        name for name in cards.columns if f"{name} low" in cards.columns and not name.startswith("latency")
    ]


def _cells(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    heads = [str(table.index.name), *map(str, table.columns)]
    rows = [
        [str(name), *(_cell(value) for value in line)]
        for name, line in zip(table.index, table.itertuples(index=False), strict=True)
    ]
    return heads, rows


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
