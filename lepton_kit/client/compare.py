"""Runs beside each other: their curves, what differs in their configurations, their last figures, their report cards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_kit.client.curves import along, points, smooth
from lepton_kit.client.run import Run
from lepton_kit.deploy.modelcard import sections
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.scoring import wilson
from lepton_kit.drawing import SVG, Picture, still
from lepton_kit.errors import CompressionError, ConfigError, DataError, LeptonError, writing
from lepton_kit.rundir import find_run
from lepton_kit.rundir.view import RunView, main_metric

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

AXES = ("step", "epoch", "seconds")
SHARES = ("accuracy", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy")
"""Metrics that are the share of samples answered right, so that Wilson's interval is theirs."""
OWN = ("name", "version", "frozen")
"""Parts of a configuration that say which run it is, not how it trains; data that differ are told by their contents."""


@dataclass(frozen=True)
class Figure:
    """A last figure of a run with its 95 % interval, where there is one; ``how`` says where both come from."""

    value: float | None
    low: float | None = None
    high: float | None = None
    how: str = "measured"

    def __str__(self) -> str:
        if self.value is None or not np.isfinite(self.value):
            return "–"
        ends = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.value:.4g}{ends}"


class Comparison:
    """Two runs or more beside each other; in a notebook it shows its plots and tables.

    `options` holds what differs in the configurations, `figures` the last figures, `cards` the compressed models,
    `curves` the points of a quantity; `figure` draws them and `save` writes a page. ``notes`` say what makes the runs
    unequal beyond that. ``unreadable`` has the ids of runs that were left out, with the reason.
    """

    def __init__(self, runs: Sequence[Run], unreadable: Mapping[str, str] | None = None):
        self.runs = tuple(runs)
        self.unreadable = dict(unreadable or {})
        self.names = _distinct(self.runs)
        self._views = [run.view() for run in self.runs]

    def __repr__(self) -> str:
        return f"<Comparison: {', '.join(self.names)}>"

    @property
    def quantities(self) -> tuple[str, ...]:
        """What `curves` knows: the loss and every metric that a run has reported, of training and of validation."""
        known: dict[str, None] = {}
        for view in self._views:
            known |= dict.fromkeys(("loss", *view.metrics))
            known |= dict.fromkeys(
                name for epoch in view.epochs for name in epoch if name not in ("epoch", "step", "seconds")
            )
        return tuple(known)

    @property
    def main(self) -> tuple[str, ...]:
        """What is drawn where nothing else is asked for: the loss, and the main metric if there is one."""
        metric = main_metric([name for name in self.quantities if not name.startswith("val_")])
        return ("loss",) if metric is None else ("loss", metric)

    @property
    def notes(self) -> list[str]:
        """What is to be known before one run is called better than another."""
        found = [f"Left out, as it can't be read: {name} ({why})." for name, why in self.unreadable.items()]
        contents = [run.config.frozen.content if run.config.frozen else None for run in self.runs]
        if len(set(contents)) > 1:
            found.append(
                "The runs did not all train on the same data, so their figures are of different samples."
            )
        under_way = [name for name, run in zip(self.names, self.runs, strict=True) if not run.status.is_over]
        if under_way:
            found.append(f"Not over yet: {', '.join(under_way)}.")
        found.append("One training each: another seed may change the order of runs whose intervals overlap.")
        return found

    def options(self) -> pd.DataFrame:
        """What differs: one row an option by its name in the configuration file, one column a run.

        ``data.content`` is a hash of all samples. ``changed while it trained`` lists granted requests in order.
        """
        import pandas as pd

        told = [_options(run, view) for run, view in zip(self.runs, self._views, strict=True)]
        names = dict.fromkeys(name for one in told for name in one)
        differing = [name for name in names if len({json.dumps(one.get(name)) for one in told}) > 1]
        columns = {
            name: [one.get(option) for option in differing]
            for name, one in zip(self.names, told, strict=True)
        }
        return pd.DataFrame(columns, index=pd.Index(differing, name="option"), dtype=object)

    def figures(self) -> pd.DataFrame:
        """The last figures: one row a figure, one column a run, each cell a `Figure` with its interval or None.

        Of the model card where a run has one (`Run.report` makes it), else of the last epoch. The interval of a share of
        validation samples is Wilson's, as if each sample had one answer.
        """
        import pandas as pd

        told = [_figures(run, view) for run, view in zip(self.runs, self._views, strict=True)]
        names = list(dict.fromkeys(name for one in told for name in one))
        columns = {
            name: [one.get(figure) for figure in names] for name, one in zip(self.names, told, strict=True)
        }
        return pd.DataFrame(columns, index=pd.Index(names, name="figure"), dtype=object)

    def cards(self) -> pd.DataFrame:
        """The compressed models of the runs that have a report card: one row a run and variant, as `ReportCard.table`."""
        import pandas as pd

        found = {}
        for name, run in zip(self.names, self.runs, strict=True):
            try:
                found[name] = ReportCard.load(run.directory / "compression").table()
            except CompressionError:
                continue
        return pd.concat(found, names=["run", "variant"]) if found else pd.DataFrame()

    def curves(self, quantity: str = "loss", *, x: str = "step", smoothing: float = 0.0) -> pd.DataFrame:
        """The points of a quantity: columns run, ``x`` (step, epoch or seconds), value, smoothed.

        ``smoothing`` is the weight of the past in a running mean, from 0 (none) to below 1. Raises `ConfigError`.
        """
        import pandas as pd

        self._check(quantity, x, smoothing)
        parts = []
        for name, view in zip(self.names, self._views, strict=True):
            steps, values = points(view, quantity)
            parts.append(
                pd.DataFrame(
                    {
                        "run": name,
                        x: along(view, steps, x),
                        "value": values,
                        "smoothed": smooth(values, smoothing),
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

    def figure(
        self,
        *quantities: str,
        x: str = "step",
        smoothing: float = 0.0,
        log_x: bool = False,
        log_y: bool = False,
    ) -> go.Figure:
        """A plotly figure: one plot a quantity with the curves of all runs; those on validation samples are dashed."""
        from lepton_kit.client.compare_show import draw

        for quantity in quantities:
            self._check(quantity, x, smoothing)
        self._check("loss", x, smoothing)
        return draw(self, quantities or self.main, x, smoothing, log_x, log_y)

    def picture(
        self,
        quantity: str = "loss",
        *,
        x: str = "step",
        smoothing: float = 0.0,
        log_x: bool = False,
        log_y: bool = False,
    ) -> Picture:
        """A still picture (SVG) of one quantity, with words for those who can't see it; `figure` is the one to explore."""
        from lepton_kit.client import compare_picture

        self._check(quantity, x, smoothing)
        return compare_picture.draw(self, quantity, x, smoothing, log_x, log_y)

    def to_markdown(self) -> str:
        """Notes and tables as text."""
        from lepton_kit.client.compare_show import markdown

        return markdown(self)

    def to_html(self) -> str:
        """Notes and tables as a part of a page."""
        from lepton_kit.client.compare_show import html

        return html(self)

    def save(self, path: str | Path, **drawn: Any) -> Path:
        """Write a page with plots and tables (.html), or the tables as text (.md). Options are those of `figure`.

        Raises `ConfigError` for another ending, or where it can't be written.
        """
        path = Path(path)
        if path.suffix not in (".html", ".md"):
            raise ConfigError("path", given=str(path), rule="a file that ends in .html or .md")
        from lepton_kit.client.compare_show import page

        text = page(self, self.figure(**drawn)) if path.suffix == ".html" else self.to_markdown()
        with writing("path", path):
            path.write_text(text, encoding="utf-8")
        return path

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON: runs, those that can't be read, notes, options and figures."""
        figures = self.figures()
        return {
            "runs": {name: run.id for name, run in zip(self.names, self.runs, strict=True)},
            "unreadable": self.unreadable,
            "notes": self.notes,
            "options": self.options().to_dict("index"),
            "figures": {
                str(row): {
                    name: vars(cell) if isinstance(cell, Figure) else None for name, cell in cells.items()
                }
                for row, cells in figures.to_dict("index").items()
            },
        }

    def _repr_html_(self) -> str:
        shown = [still(SVG, one.svg, one.text)["text/html"] for one in map(self.picture, self.main)]
        return "".join([*shown, self.to_html()])

    def _check(self, quantity: str, x: str, smoothing: float) -> None:
        if quantity not in self.quantities:
            raise ConfigError("quantity", given=quantity, rule=f"one of {', '.join(self.quantities)}")
        if x not in AXES:
            raise ConfigError("x", given=x, rule=f"one of {', '.join(AXES)}")
        if not 0 <= smoothing < 1:
            raise ConfigError("smoothing", given=smoothing, rule="a number from 0 to below 1")


def compare(*runs: Run | str | Path | Iterable[Run], runs_dir: str | Path | None = None) -> Comparison:
    """Put runs beside each other, by object, id, beginning of an id or path; or all of a list such as `runs` gives.

    One that can't be read is left out and named with the reason. Raises `RunError` for one that is not there,
    `ConfigError` for fewer than two, or where fewer than two can be read.

    >>> lk.compare("wide", "narrow").figure("val_accuracy", smoothing=0.6)  # doctest: +SKIP
    """
    found: dict[Path, Run] = {}
    for one in runs:
        some = one if isinstance(one, Iterable) and not isinstance(one, str | Path) else [one]
        for each in some:
            run = each if isinstance(each, Run) else Run(find_run(each, runs_dir))
            found[run.directory] = run
    if len(found) < 2:
        raise ConfigError(
            "runs", given=[run.id for run in found.values()], rule="at least two runs to compare"
        )
    unreadable = {run.id: why for run in found.values() if (why := _unreadable(run)) is not None}
    readable = [run for run in found.values() if run.id not in unreadable]
    if len(readable) < 2:
        told = "; ".join(f"{name} can't be read ({why})" for name, why in unreadable.items())
        raise ConfigError("runs", given=[*unreadable], rule=f"at least two that can be read: {told}")
    return Comparison(readable, unreadable)


def _unreadable(run: Run) -> str | None:
    """Why a run can't be compared, if it can't."""
    try:
        _ = run.config
        run.view()
        _ = run.status
    except LeptonError as failure:
        return str(failure)
    return None


def _distinct(runs: Sequence[Run]) -> list[str]:
    """What runs are called here: their names, or ids where two have one name."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else run.id for name, run in zip(names, runs, strict=True)]


def _options(run: Run, view: RunView) -> dict[str, Any]:
    config = run.config.to_dict()
    told = dict(_flat({name: value for name, value in config.items() if name not in OWN}))
    if run.config.frozen is not None:
        told["data.content"] = run.config.frozen.content[:12]
    changes = [_change(request) for request in view.requests if request.get("accepted")]
    told["changed while it trained"] = "; ".join(change for change in changes if change) or None
    return told


def _change(request: Mapping[str, Any]) -> str | None:
    said = {
        name: value
        for name, value in request.items()
        if name not in ("time", "kind", "verb", "id", "accepted", "cause")
    }
    return ", ".join(f"{name} {value}" for name, value in said.items()) or None


def _flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


RUNNING = ("step", "seconds", "workers", "energy_joules")
"""Figures that say how a run went, and not how good its model is."""


def _figures(run: Run, view: RunView) -> dict[str, Figure]:
    summary = view.summary()
    held = view.plan.get("validation_samples") or 0
    figures = {}
    for name, value in summary.items():
        if isinstance(value, int | float) and name not in (*RUNNING, "total_steps"):
            figures[name] = _with_interval(name, float(value), held)
    for metric in _of_card(run):
        if metric.value is not None:
            how = f"model card, {metric.how or 'no interval'}"
            figures[f"held out: {metric.name}"] = Figure(metric.value, metric.low, metric.high, how)
    for name in RUNNING:
        value = summary.get(name)
        figures[name] = Figure(None if value is None else float(value))
    if view.energy.rows:
        low, high = (sum(getattr(row, end) for row in view.energy.rows) for end in ("low", "high"))
        figures["energy_joules"] = Figure(summary["energy_joules"], low, high, str(view.energy.origin))
    return figures


def _with_interval(name: str, value: float, held: int) -> Figure:
    if (
        name.removeprefix("val_") not in SHARES
        or not name.startswith("val_")
        or not held
        or not 0 <= value <= 1
    ):
        return Figure(value)
    return Figure(value, *wilson(round(value * held), held), how=f"measured, Wilson on {held} samples")


def _of_card(run: Run) -> tuple[sections.Metric, ...]:
    try:
        facts = sections.load(run.paths.final_model.parent / sections.FILE)
    except DataError:
        return ()
    return facts.outputs[0].metrics if facts.outputs else ()
