"""The live plots of a run: which curves stand in which plot, and what of them is new."""

from __future__ import annotations

from typing import Any

from lepton_kit.drawing import BLUE, GREEN, ORANGE, VIOLET
from lepton_kit.panels.curves import Curves, curves_of, far_values
from lepton_kit.panels.plots import Plot, PlotCurve, Plots
from lepton_kit.rundir.view import RunView

SHARES = ("auc", "precision", "recall")


class LiveFigure:
    """The plots of one run: `show` sends only the curves that changed since the last call."""

    def __init__(self) -> None:
        self.plots = Plots(plots_of(Curves()))

    @property
    def widget(self) -> Any:
        """The widget, to be put on a page."""
        return self.plots.widget

    def show(self, view: RunView) -> bool:
        """Bring the plots up to date; True if anything was sent."""
        curves = curves_of(view)
        plots = plots_of(curves)
        shown = {name: getattr(curves, name) for name in curves.order}
        if view.done and not len(curves.per_rank[0]):
            del shown["per_rank"]  # the last speeds stay to be read
        return self.plots.show(shown, plots=plots, limits=limits_of(plots, curves))

    def close(self) -> None:
        """Take the plots off the page."""
        self.plots.close()


def plots_of(curves: Curves) -> list[Plot]:
    """The plots of a run with this metric."""
    metric = curves.metric_name
    share = "acc" in metric or metric in SHARES
    return [
        Plot(
            "loss",
            "Loss",
            (
                PlotCurve("loss", "training", BLUE),
                PlotCurve("validation_loss", "validation", ORANGE, kind="dots"),
            ),
            span=3,
        ),
        Plot(
            "metric",
            metric.replace("_", " ").capitalize(),
            (
                PlotCurve("metric", "training", BLUE),
                PlotCurve("validation_metric", "validation", ORANGE, kind="dots"),
                PlotCurve("sparsity", "share of zeros", VIOLET, format="share", dash=True, optional=True),
            ),
            span=3,
            range=(0.0, 1.02) if share else None,
        ),
        Plot(
            "throughput", "Throughput", (PlotCurve("throughput", "all ranks", GREEN, format="rate"),), height=160
        ),
        Plot(
            "world_size",
            "Workers",
            (PlotCurve("world_size", "training", VIOLET, kind="steps", format="count"),),
            height=160,
            log=False,
            whole=True,
        ),
        Plot(
            "per_rank",
            "Speed of each rank",
            (PlotCurve("per_rank", "own compute", ORANGE, kind="bars", format="rate"),),
            height=160,
            x="rank",
            log=False,
        ),
        Plot(
            "cores", "Cores at work", (PlotCurve("cores", "all workers", GREEN, format="cores"),), height=150,
            log=False, optional=True,
        ),
        Plot(
            "memory", "Memory", (PlotCurve("memory", "all workers", BLUE, format="bytes"),), height=150, log=False,
            optional=True,
        ),
        Plot(
            "gpu", "GPU load", (PlotCurve("gpu", "mean of all", ORANGE, format="share"),), height=150, log=False,
            range=(0.0, 1.02), optional=True,
        ),
        Plot(
            "gpu_memory", "GPU memory", (PlotCurve("gpu_memory", "all GPUs", VIOLET, format="bytes"),), height=150,
            log=False, optional=True,
        ),
    ]  # fmt: skip


def limits_of(plots: list[Plot], curves: Curves) -> dict[str, tuple[float, float, int]]:
    """Where single far values would flatten a plot: the ends of its axis without them, and how many they are."""
    found = {}
    for plot in plots:
        values = [getattr(curves, curve.name)[1] for curve in plot.curves if curve.kind in ("line", "dots")]
        far = far_values(values) if plot.range is None else None
        if far is not None:
            found[plot.name] = far
    return found
