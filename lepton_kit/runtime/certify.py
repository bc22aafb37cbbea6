"""The equivalence check: N workers against one process on the large batch, weight by weight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_kit.errors import RunError
from lepton_kit.runtime.launch import launch
from lepton_kit.runtime.run import Run
from lepton_kit.training import state

if TYPE_CHECKING:
    import pandas as pd

REFERENCE_SECONDS = 600


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


def certify(model: Any, data: Any, *, workers: int = 2, steps: int = 20, **options: Any) -> Certificate:
    """Train the same model by ``workers`` workers and by plain Keras in one process, and compare all weights.

    Takes the options of `launch`. Takes about as long as two starts of TensorFlow. Raises what `launch` raises, and
    `RunError` if one of the two fails.
    """
    with tempfile.TemporaryDirectory(prefix="lepton-certify-") as folder:
        options = {"epochs": 1_000_000, "name": "certify", **options, "max_steps": steps}
        run = launch(model, data, workers=workers, runs_dir=folder, **options)
        try:
            reference = _reference(run, Path(folder) / "reference.npz")
            run.wait()
        finally:
            if run.alive:
                run.stop()
                while run.alive:
                    run.wait()
        _, arrays, _ = state.load_checkpoint(state.checkpoint_folders(run.paths.checkpoints)[-1])
        return compare(run, arrays, reference)


def compare(run: Run, arrays: list[np.ndarray], reference: Path) -> Certificate:
    """The certificate of a run's arrays (model variables first) against what `reference` wrote."""
    with np.load(reference, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        expected = [stored[f"arr_{k}"] for k in range(len(about["names"]))]
    differences = {
        name: float(np.max(np.abs(mine.astype(np.float64) - other.astype(np.float64)), initial=0.0))
        for name, mine, other in zip(about["names"], arrays, expected, strict=False)
    }
    assert run.config.training.max_steps is not None
    return Certificate(
        workers=int(run.config.workers.count),
        steps=run.config.training.max_steps,
        global_batch=run.config.training.global_batch,
        differences=differences,
        trainable=dict(zip(about["names"], about["trainable"], strict=True)),
        inexact=tuple(about["inexact"]),
    )


def _reference(run: Run, output: Path) -> Path:
    result = subprocess.run(
        [sys.executable, "-m", "lepton_kit.training.reference", str(run.directory), str(output)],
        capture_output=True,
        text=True,
        check=False,
        timeout=REFERENCE_SECONDS,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if result.returncode != 0:
        raise RunError(f"the one-process reference failed:\n{result.stderr[-2000:]}")
    return output
