"""How a report card and a sensitivity table are shown: pandas, plotly and Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lepton_kit.deploy.report.rows import COLUMNS, OWN, Figure, Row, own_keys
from lepton_kit.deploy.report.still import KINDS, Drawn, front_picture, with_picture
from lepton_kit.errors import ConfigError
from lepton_kit.planning.cost import load as load_prices
from lepton_kit.planning.estimates import digits

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects

GREY, GRID = "#7f7f7f", "rgba(127,127,127,0.25)"  # readable on light and dark backgrounds


class Card(Drawn, Protocol):
    """What is shown of a `ReportCard`."""

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked for."""

    @property
    def best(self) -> str | None:
        """Name of the row that the search chose."""

    @property
    def reference(self) -> Row | None:
        """The row of the float model in LiteRT."""

    def saving(self, cost: str = "energy") -> str | None:
        """The same score for less, in a sentence."""


def table(card: Card, origins: bool = False) -> pandas.DataFrame:
    """One row a variant; figures as numbers, or as their tags."""
    import pandas

    keys = [key for key in COLUMNS if any(key in row.figures for row in card.rows)]
    keys[2:2] = own_keys(card.rows, card.metric)
    records = []
    for row in card.rows:
        record: dict[str, Any] = {"variant": row.name, "target": row.target, "runtime": row.runtime}
        for key in keys:
            figure = row.figures.get(key)
            heading = column_heading(card, key)
            if origins:
                record[heading] = figure.origin if figure else "not_run"
                continue
            record[heading] = figure.value if figure and figure.value is not None else float("nan")
            if key in ("score", "energy") or key.startswith("latency"):
                record[f"{heading} low"] = figure.low if figure and figure.low is not None else float("nan")
                record[f"{heading} high"] = (
                    figure.high if figure and figure.high is not None else float("nan")
                )
        record["flags"] = "; ".join(row.flags) if not row.error else f"not made: {row.error}"
        records.append(record)
    return pandas.DataFrame.from_records(records).set_index("variant")


def column_heading(card: Card, key: str) -> str:
    """The column's name with its unit; the score goes by its metric."""
    if key.startswith(OWN):
        name = key.removeprefix(OWN)
        return f"{name} (as compiled)" if name == card.metric else name
    heading, unit = COLUMNS[key]
    if key == "score":
        return card.metric
    return f"{heading} ({unit})" if unit in ("ms", "mJ", "bytes", "samples/s", "cycles") else heading


def energy_table(card: Card, prices: str | Path | None = None) -> Any:
    """A row a variant: what 1,000 predictions take and cost; see `ReportCard.energy`."""
    import pandas

    known = load_prices(prices)
    if known.electricity is None:
        raise ConfigError(f"{known.file}: electricity", given=None, rule="a price per_kwh")
    best = {row.name for row in card.front("energy")}
    money = f"{known.electricity.currency} for 1,000"
    records = []
    for row in card.rows:
        figure = row.figures.get("energy")
        joules = row.get("energy")  # millijoules of one are joules of 1,000
        each = known.electricity.amount / 3.6e6
        record: dict[str, Any] = {
            "variant": row.name,
            card.metric: row.get("score"),
            "joules for 1,000": joules,
            "low": None if figure is None else figure.low,
            "high": None if figure is None else figure.high,
            money: None if joules is None else joules * each,
            "origin": "not_run" if figure is None else figure.origin,
            "worth_it": row.name in best,
        }
        records.append(record)
    return pandas.DataFrame.from_records(records).set_index("variant")


def card_figure(card: Card, cost: str = "latency_1_one") -> plotly.graph_objects.Figure:
    """Score against a cost, one point a variant, with intervals; the Pareto front as a line."""
    import plotly.graph_objects as go

    front = card.front(cost)
    figure = go.Figure()
    for role, colour in KINDS.items():
        rows = [
            r for r in card.rows if r.role == role and r.get("score") is not None and r.get(cost) is not None
        ]
        if not rows:
            continue
        scores = [(row.known("score"), row.figures["score"]) for row in rows]
        figure.add_scatter(
            x=[row.get(cost) for row in rows],
            y=[value for value, _ in scores],
            error_y={
                "type": "data",
                "array": [(score.high or value) - value for value, score in scores],
                "arrayminus": [value - (score.low or value) for value, score in scores],
                "thickness": 1,
            },
            mode="markers+text",
            marker={"size": 10, "color": colour},
            text=[row.name for row in rows],
            textposition=["top center" if k % 2 else "bottom center" for k in range(len(rows))],
            hovertext=["<br>".join((row.name, *row.flags)) for row in rows],
            name={"float": "float", "control": "control", "variant": "variants"}[role],
        )
    figure.add_scatter(
        x=[row.get(cost) for row in front],
        y=[row.get("score") for row in front],
        mode="lines",
        line={"dash": "dot", "color": GREY},
        name="Pareto front",
    )
    origins = {row.figures[cost].origin for row in card.rows if row.get(cost) is not None}
    told = " and ".join(sorted(origins)) or "not known"
    figure.update_xaxes(title=f"{COLUMNS[cost][0]} ({COLUMNS[cost][1]}), {told}", type="log")
    figure.update_yaxes(title=f"{card.metric} on {card.held_out} held-out samples")
    return with_picture(neutral(figure), front_picture(card, cost))


def neutral(figure: plotly.graph_objects.Figure) -> plotly.graph_objects.Figure:
    """Colours that fit light and dark pages."""
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY},
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": 1.08},
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID)
    return figure


def markdown(card: Card) -> str:
    """The card as Markdown: a table of the main figures with ratios to float LiteRT, then flags and settings."""
    reference, own = card.reference, own_keys(card.rows, card.metric)
    heads = [
        "variant",
        "target",
        card.metric,
        "difference",
        *(column_heading(card, key) for key in own),
        "file",
        "gzip",
        "latency 1",
        "latency 32",
        "energy",
        "× faster",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in card.rows:
        if row.error:
            continue
        name = f"**{row.name}**" if row.name == card.best else row.name
        cells = [
            name,
            f"{row.target}, {row.runtime}",
            *(_cell(row, key) for key in (*MAIN[:2], *own, *MAIN[2:])),
            _speed(row, reference),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    said: dict[str, list[str]] = {}
    for row in card.rows:
        for text in (*row.flags, *row.notes):
            said.setdefault(text, []).append(row.name)
    lines += [f"- **{', '.join(names)}**: {text}" for text, names in said.items()]
    lines += [f"- **{row.name}**: not made: {row.error}" for row in card.rows if row.error]
    lines += [
        f"- {name}: {value}" for name, value in card.settings.items() if isinstance(value, str | int | float)
    ]
    if (saving := card.saving()) is not None:
        lines.append(f"- {saving}")
    lines.append("- energy in mJ for one prediction, above what the machine takes without work")
    lines.append("- one-thread latency in ms, median (quartiles); intervals of the score are 95 %")
    return "\n".join(lines) + "\n"


MAIN = ("score", "difference", "file_bytes", "gzip_bytes", "latency_1_one", "latency_32_one", "energy")


def _cell(row: Row, key: str) -> str:
    figure = row.figures.get(key)
    if figure is None or figure.value is None:
        return "not run"
    text = _number(key, figure, figure.value)
    return text if figure.origin == "measured" else f"{text} ({figure.origin})"


def _number(key: str, figure: Figure, value: float) -> str:
    if key == "score":
        return (
            f"{value:.4f} ({figure.low:.3f}–{figure.high:.3f})" if figure.low is not None else f"{value:.4f}"
        )
    if key == "difference":
        return f"{value:+.4f}"
    if key.endswith("_bytes"):
        return f"{value / 1024:.1f} KiB"
    if key.startswith("latency") or key == "energy":
        if figure.low is None or figure.high is None:
            return digits(value)
        return f"{digits(value)} ({digits(figure.low)}–{digits(figure.high)})"
    return f"{value:.4f}" if key.startswith(OWN) else f"{value:g}"


def _speed(row: Row, reference: Row | None) -> str:
    mine = row.get("latency_1_one")
    other = reference.get("latency_1_one") if reference else None
    return f"{other / mine:.2f}" if mine and other else "not run"
