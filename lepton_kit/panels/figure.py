"""The live plots of a run: one plotly FigureWidget with five small plots, fed with few points, seldom."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_kit.drawing import BLUE, GREEN, GREY, ORANGE, VIOLET
from lepton_kit.panels.curves import Curves, curves_of
from lepton_kit.rundir.view import RunView

GRID = "rgba(125,133,144,0.22)"
CLEAR = "rgba(0,0,0,0)"

PLACES = {
    "loss": (1, 1), "validation_loss": (1, 1),
    "metric": (1, 4), "validation_metric": (1, 4), "sparsity": (1, 4),
    "throughput": (2, 1), "world_size": (2, 3), "per_rank": (2, 5),
}  # fmt: skip
"""Row and column of every curve in a grid of two rows and six narrow columns."""
ORDER = tuple(PLACES)


def new_figure(height: int = 430) -> Any:
    """An empty plotly `Figure`: loss, metric, throughput, workers, speed of each rank.

    pandas is imported whole before it: plotly looks for ``pandas.Series`` whenever ``pandas`` is among the loaded
    modules, and fails in a thread while a cell is still importing it (plotly 7.1, seen 2026-11).
    """
    import pandas  # noqa: F401  loaded for plotly, see above
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2, cols=6,
        specs=[[{"colspan": 3}, None, None, {"colspan": 3}, None, None],
               [{"colspan": 2}, None, {"colspan": 2}, None, {"colspan": 2}, None]],
        subplot_titles=_titles("accuracy", sparsity=False),
        horizontal_spacing=0.075, vertical_spacing=0.2,
    )  # fmt: skip
    for name, (row, column) in PLACES.items():
        figure.add_trace(_trace(go, name), row=row, col=column)
    figure.update_layout(
        height=height, margin={"l": 44, "r": 14, "t": 30, "b": 34}, showlegend=False, autosize=True,
        paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, hovermode="closest", uirevision="keep",
        font={"color": GREY, "size": 11, "family": "system-ui, sans-serif"},
        hoverlabel={"font": {"size": 11}}, bargap=0.35,
    )  # fmt: skip
    figure.update_annotations(font={"size": 12, "color": GREY})
    figure.update_xaxes(
        gridcolor=GRID, linecolor=GRID, zeroline=False, title={"text": "step", "standoff": 4}, rangemode="tozero",
        title_font_size=10, nticks=6,
    )  # fmt: skip
    figure.update_yaxes(gridcolor=GRID, linecolor=GRID, zeroline=False, nticks=5, rangemode="tozero")
    figure.update_yaxes(range=[0, 1.02], row=1, col=4)
    figure.update_xaxes(title_text="rank", dtick=1, row=2, col=5)
    figure.update_yaxes(dtick=1, range=[0, 2.4], row=2, col=3)
    return figure


def static_figure(view: RunView) -> Any:
    """The same plots of a run as a plain plotly `Figure`, to keep, restyle or save."""
    figure = new_figure()
    curves = curves_of(view)
    for trace, name in zip(figure.data, ORDER, strict=True):
        trace.x, trace.y = getattr(curves, name)
        if trace.type == "scatter":
            trace.mode = _mode(name, len(trace.x))
    figure.update_layout(**_layout(curves))
    for annotation, text in zip(figure.layout.annotations, _titles_of(curves), strict=True):
        annotation.text = text
    return figure


class LiveFigure:
    """One FigureWidget that follows a `RunView`: `show` sends only the curves that changed since the last call.

    Its page is told of it by `open`, once it holds its data. A FigureWidget that is opened empty may stay empty: a
    page that draws it before the next message has come misses that message (plotly 7.1, seen 2026-11).
    """

    def __init__(self, height: int = 430):
        self.widget = _held_widget(new_figure(height))
        self.widget._config = {"displaylogo": False, "displayModeBar": False, "responsive": True}
        # The widget would hand a reloaded page the data it was built with; its live record is handed out instead.
        for name, live in (
            ("_widget_data", self.widget._data),
            ("_widget_layout", self.widget._layout_obj._props),
        ):
            self.widget._trait_values[name] = live
        self.sent = 0
        self._marks: dict[str, tuple] = {}
        self._headings: tuple = ()

    def open(self) -> None:
        """Let pages show the plots; nothing if they do already."""
        if self.widget.held:
            self.widget.held = False
            self.widget.open()

    def forget(self) -> None:
        """Send all curves with the next `show`: a page has come that may have missed some."""
        self._marks, self._headings = {}, ()

    def show(self, view: RunView) -> bool:
        """Bring the plots up to date; True if anything was sent."""
        curves = curves_of(view)
        changed = [name for name in ORDER if self._marks.get(name) != _mark(*getattr(curves, name))]
        if view.done and "per_rank" in changed and not len(curves.per_rank[0]):
            changed.remove("per_rank")  # the last speeds stay to be read
        headings = (curves.metric_name, len(curves.sparsity[0]) > 0, _world_top(curves))
        if not changed and headings == self._headings:
            return False
        if not self._marks:
            # plotly sends only what differs from its own record: after `forget`, values that stay would not go out.
            with self.widget.batch_update():
                for trace in self.widget.data:
                    trace.x, trace.y = [], []
        with self.widget.batch_update():
            for name in changed:
                trace = self.widget.data[ORDER.index(name)]
                x, y = getattr(curves, name)
                trace.x, trace.y = x, y
                if trace.type == "scatter":
                    trace.mode = _mode(name, len(x))  # inside a batch, trace.x is still the one before
            if headings != self._headings:
                self.widget.update_layout(**_layout(curves))
                for annotation, text in zip(self.widget.layout.annotations, _titles_of(curves), strict=True):
                    annotation.text = text
        for name in changed:
            self._marks[name] = _mark(*getattr(curves, name))
        self._headings = headings
        self.sent += 1
        return True

    def close(self) -> None:
        """Take the plots off the page."""
        self.widget.close()


def _held_widget(figure: Any) -> Any:
    import plotly.graph_objects as go

    class HeldFigureWidget(go.FigureWidget):
        held = True

        def open(self) -> None:
            if not self.held:
                super().open()

    return HeldFigureWidget(figure)


def _trace(go: Any, name: str) -> Any:
    line, marker = {"width": 1.6}, {"size": 4}
    label = name.replace("_", " ")
    if name == "per_rank":
        return go.Bar(
            name=label, marker={"color": ORANGE}, x=[], y=[],
            hovertemplate="rank %{x}: %{y:,.0f} samples/s of its own compute<extra></extra>",
        )  # fmt: skip
    if name.startswith("validation"):
        return go.Scatter(
            name=label, x=[], y=[], mode="lines+markers", line=line | {"color": ORANGE}, marker={"size": 6},
            hovertemplate="%{y:.4f}<extra>validation</extra>",
        )  # fmt: skip
    if name == "sparsity":
        return go.Scatter(
            name=label, x=[], y=[], mode="lines", marker=marker, line=line | {"color": VIOLET, "dash": "dot"},
            hovertemplate="%{y:.1%} zeros<extra></extra>",
        )  # fmt: skip
    if name == "throughput":
        return go.Scatter(
            name=label, x=[], y=[], mode="lines", marker=marker, line=line | {"color": GREEN},
            hovertemplate="%{y:,.0f} samples/s<extra></extra>",
        )  # fmt: skip
    if name == "world_size":
        return go.Scatter(
            name=label, x=[], y=[], mode="lines", marker=marker, line={"width": 2, "color": VIOLET, "shape": "hv"},
            hovertemplate="%{y} training<extra></extra>",
        )  # fmt: skip
    return go.Scatter(
        name=label, x=[], y=[], mode="lines", marker=marker, line=line | {"color": BLUE},
        hovertemplate="%{y:.4f}<extra>training</extra>",
    )  # fmt: skip


def _mode(name: str, points: int) -> str:
    """A curve of few points shows them: one point alone would draw no line."""
    return "lines+markers" if points <= (25 if name.startswith("validation") else 12) else "lines"


def _titles(metric: str, sparsity: bool) -> list[str]:
    pair = f'<span style="color:{BLUE}">training</span> · <span style="color:{ORANGE}">validation</span>'
    zeros = f' · <span style="color:{VIOLET}">share of zeros</span>' if sparsity else ""
    label = metric.replace("_", " ").capitalize()
    return [
        f"<b>Loss</b>   {pair}",
        f"<b>{label}</b>   {pair}{zeros}",
        f'<b>Throughput</b>   <span style="color:{GREEN}">samples/s, all ranks</span>',
        f'<b>Workers</b>   <span style="color:{VIOLET}">training</span>',
        f'<b>Speed of each rank</b>   <span style="color:{ORANGE}">samples/s</span>',
    ]


def _titles_of(curves: Curves) -> list[str]:
    return _titles(curves.metric_name, sparsity=len(curves.sparsity[0]) > 0)


def _world_top(curves: Curves) -> float:
    return float(curves.world_size[1].max()) if len(curves.world_size[1]) else 2.0


def _layout(curves: Curves) -> dict[str, Any]:
    top = max(2.0, _world_top(curves))
    share = "acc" in curves.metric_name or curves.metric_name in ("auc", "precision", "recall")
    return {
        "yaxis2": {"range": [0, 1.02], "autorange": False} if share else {"autorange": True},
        "yaxis4": {"range": [0, top * 1.2], "dtick": max(1, round(top / 4))},
    }


def _mark(x: np.ndarray, y: np.ndarray) -> tuple:
    return len(x), hash(x.tobytes()), hash(y.tobytes())
