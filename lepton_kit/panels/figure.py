"""The plots of a run as one plotly `Figure`, to keep, restyle or save."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_kit.drawing import GREY
from lepton_kit.panels.curves import Curves, curves_of, smooth
from lepton_kit.panels.plots import Plot, PlotCurve
from lepton_kit.panels.run_plots import limits_of, plots_of
from lepton_kit.rundir.view import RunView

GRID = "rgba(125,133,144,0.22)"
CLEAR = "rgba(0,0,0,0)"
COLUMNS = 6
FAINT = 0.3
FORMATS = {
    "share": "%{y:.1%}", "count": "%{y:,.0f}", "rate": "%{y:,.0f} samples/s", "figure": "%{y:.4f}",
    "bytes": "%{y:.3s}B", "cores": "%{y:.2f} cores",
}  # fmt: skip


def static_figure(
    view: RunView, *, smoothing: float = 0.0, log: bool = False, all_values: bool = False, height: int = 470
) -> Any:
    """The plots of a run as a plotly `Figure`, with what the live view's switches do: see `LivePanel.plotly`."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    curves = curves_of(view)
    plots = [plot for plot in plots_of(curves) if not plot.optional or any(_points(curves, plot))]
    places = _places(plots)
    rows: list[list[dict[str, int] | None]] = [[None] * COLUMNS for _ in range(max(row for row, _ in places))]
    for plot, (row, column) in zip(plots, places, strict=True):
        rows[row - 1][column - 1] = {"colspan": plot.span}
    figure = make_subplots(
        rows=len(rows), cols=COLUMNS, specs=rows, subplot_titles=[_title(plot, curves) for plot in plots],
        horizontal_spacing=0.075, vertical_spacing=0.2,
    )  # fmt: skip
    limits = {} if all_values else limits_of(plots, curves)
    for plot, (row, column) in zip(plots, places, strict=True):
        for one in plot.curves:
            x, y = getattr(curves, one.name)
            for trace in _traces(go, one, x, y, smoothing):
                figure.add_trace(trace, row=row, col=column)
        figure.update_xaxes(title={"text": plot.x, "standoff": 4}, row=row, col=column)
        figure.update_yaxes(**_axis(plot, log and plot.log, limits.get(plot.name)), row=row, col=column)
    figure.update_layout(
        height=height * len(rows) / 2, margin={"l": 44, "r": 14, "t": 30, "b": 34}, showlegend=False,
        paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, hovermode="closest", bargap=0.35,
        font={"color": GREY, "size": 11, "family": "system-ui, sans-serif"}, hoverlabel={"font": {"size": 11}},
    )  # fmt: skip
    figure.update_annotations(font={"size": 12, "color": GREY})
    figure.update_xaxes(gridcolor=GRID, linecolor=GRID, zeroline=False, title_font_size=10, nticks=6)
    figure.update_yaxes(gridcolor=GRID, linecolor=GRID, zeroline=False, nticks=5)
    return figure


def _points(curves: Curves, plot: Plot) -> list[int]:
    return [len(getattr(curves, one.name)[0]) for one in plot.curves]


def _places(plots: list[Plot]) -> list[tuple[int, int]]:
    """Row and column of each plot, in rows of `COLUMNS` columns, from 1."""
    places, row, column = [], 1, 1
    for plot in plots:
        if column + plot.span > COLUMNS + 1:
            row, column = row + 1, 1
        places.append((row, column))
        column += plot.span
    return places


def _title(plot: Plot, curves: Curves) -> str:
    named = [one for one in plot.curves if not one.optional or len(getattr(curves, one.name)[0])]
    return f"<b>{plot.title}</b>   " + " · ".join(
        f'<span style="color:{one.color}">{one.label}</span>' for one in named
    )


def _axis(plot: Plot, log: bool, ends: tuple[float, float, int] | None) -> dict[str, Any]:
    if log:
        positive = ends is not None and ends[0] > 0
        return {"type": "log"} | ({"range": np.log10(ends[:2]).tolist()} if ends and positive else {})
    if ends is not None:
        low = min(0.0, ends[0]) if plot.zero else ends[0]
        return {"range": [low, ends[1] + 0.06 * (ends[1] - low)]}
    return {"range": list(plot.range)} if plot.range else {"rangemode": "tozero" if plot.zero else "normal"}


def _traces(go: Any, one: PlotCurve, x: np.ndarray, y: np.ndarray, smoothing: float) -> list[Any]:
    hover = f"{FORMATS[one.format]}<extra>{one.label}</extra>"
    if one.kind == "bars":
        return [go.Bar(name=one.label, x=x, y=y, marker={"color": one.color}, hovertemplate=hover)]
    line = {"width": 1.6, "color": one.color}
    line |= ({"dash": "dot"} if one.dash else {}) | ({"shape": "hv"} if one.kind == "steps" else {})
    few = one.kind != "steps" and len(x) <= (25 if one.kind == "dots" else 12)
    options = {
        "name": one.label, "x": x, "line": line, "mode": "lines+markers" if few else "lines", "hovertemplate": hover,
        "marker": {"size": 6 if one.kind == "dots" else 4},
    }  # fmt: skip
    if not smoothing or one.kind == "steps" or len(x) <= 2:
        return [go.Scatter(y=y, **options)]
    faint = options | {"mode": "lines", "opacity": FAINT}
    return [go.Scatter(y=y, **faint), go.Scatter(y=smooth(y, smoothing), **options)]
