"""The equivalence check: N workers against one process on the large batch, weight by weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from lepton_kit import models
from lepton_kit.client.launch import Plan, plan
from lepton_kit.client.options import LaunchOptions
from lepton_kit.client.run import Run
from lepton_kit.errors import ConfigError
from lepton_kit.processes.scratch import passing
from lepton_kit.runtime.folder import begin
from lepton_kit.training import state

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Certificate:
    """How far N workers ended from one process (measured, in units of the weights).

    `differences` maps each variable's path to max |w_N - w_1|; `inexact` says in words what in the model makes
    sharded training differ from the large batch.
    """

    workers: int
    steps: int
    global_batch: int
    differences: dict[str, float]
    trainable: dict[str, bool]
    inexact: tuple[str, ...]

    @property
    def max_difference(self) -> float:
        """The largest difference of any trainable weight."""
        return max(value for name, value in self.differences.items() if self.trainable[name])

    def __repr__(self) -> str:
        close = f"max |difference| {self.max_difference:.1e}"
        return f"<Certificate: {self.workers} workers against 1 process, {self.steps} steps: {close}>"

    def table(self) -> pd.DataFrame:
        """One row per variable: path, whether it is trained, max |difference|."""
        import pandas as pd

        rows = [
            {"variable": name, "trainable": self.trainable[name], "max_difference": value}
            for name, value in self.differences.items()
        ]
        return pd.DataFrame(rows)

    def figure(self) -> Any:
        """A plotly bar chart of the differences, logarithmic; exact equality is drawn at 1e-10."""
        import plotly.graph_objects as go

        names = [name for name in self.differences if self.trainable[name]]
        values = [max(self.differences[name], 1e-10) for name in names]
        figure = go.Figure(go.Bar(x=values, y=names, orientation="h", marker_color="#4c78a8"))
        figure.update_layout(
            title=f"{self.workers} workers against one process after {self.steps} steps",
            xaxis={"type": "log", "title": "max |difference| of a weight (measured)", "range": [-10, 0]},
            yaxis={"autorange": "reversed"},
            height=120 + 26 * len(names),
            margin={"l": 10, "r": 20, "t": 50, "b": 40},
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            font={"color": "#7f7f7f"},
        )
        figure.update_xaxes(gridcolor="rgba(127,127,127,0.25)", exponentformat="power")
        figure.update_yaxes(automargin=True)
        return figure


def certify(model: Any, data: Any, *, steps: int = 20, **options: Unpack[LaunchOptions]) -> Certificate:
    """Train the same model by several workers and by plain `model.fit` in this process, and compare all weights.

    Takes the options of `launch`, but for pruning and callbacks. The model is trained as it is, the object itself, and
    put back to what it was; where options change what it is compiled with, a copy is. Blocks. Raises what `launch`
    raises, and `RunError` if the run fails.
    """
    for name in ("pruning", "callbacks"):
        if options.get(name):
            raise ConfigError(
                name, given=options[name], rule=f"none: plain fit has no {name} to compare with"
            )
    options = {"epochs": 1_000_000, "name": "certify", **options, "max_steps": steps}
    planned = plan(model, data, **options)
    with passing("lepton-certify-") as folder:
        run = Run(begin(planned.settings.name, folder, planned.store))
        try:
            about, expected = _reference(planned, run)
            run.wait()
        finally:
            if run.alive:
                run.stop()
                while run.alive:
                    run.wait()
        return compare(run, state.load_final(run.paths.root / "final"), about, expected)


def _reference(planned: Plan, run: Run) -> tuple[list[tuple[str, bool]], list[np.ndarray]]:
    """Path and trainability of every variable, and its value after plain Keras has trained."""
    from lepton_kit.training import job, reference

    config, prepared = run.config, planned.prepared
    own = planned.trained
    training = config.training
    changed = (training.loss, training.optimizer, training.metrics, training.weighted_metrics)
    as_it_is = not any(changed) and training.learning_rate is None and training.optimizer_state == "keep"
    if isinstance(own, models.LeptonModel) or config.quantization_aware is not None or not own.compiled:
        network = job.build_model(config, run.directory, prepared)
    elif as_it_is:
        network = own
    else:
        import keras

        from lepton_kit.models import objects

        network = job.compile_model(objects.loads(objects.dumps(own)), config, prepared, keras)
    with reference.untouched(network):
        expected = reference.plain_fit(network, config, prepared)
    trainable = {id(variable) for variable in network.trainable_variables}
    return [(v.path, id(v) in trainable) for v in network.variables], expected


def compare(
    run: Run, arrays: list[np.ndarray], about: list[tuple[str, bool]], expected: list[np.ndarray]
) -> Certificate:
    """The certificate of a run's arrays (model variables first) against those of plain Keras."""
    differences = {
        name: float(np.max(np.abs(mine.astype(np.float64) - other.astype(np.float64)), initial=0.0))
        for (name, _), mine, other in zip(about, arrays, expected, strict=False)
    }
    assert run.config.training.max_steps is not None
    return Certificate(
        workers=int(run.config.workers.count),
        steps=run.config.training.max_steps,
        global_batch=run.config.training.global_batch,
        differences=differences,
        trainable=dict(about),
        inexact=tuple(run.config.model.notes),
    )
