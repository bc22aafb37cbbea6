"""One run in a storm of faults, and what is measured afterwards: samples lost, weights, pauses, processes left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import lepton_kit as lk
from lepton_kit.config import RunConfig
from lepton_kit.data.prepared import PreparedData
from lepton_kit.training import reference, state
from tests.processes import processes_of
from tests.soak.saboteur import Saboteur, until

STEPS_BETWEEN, SECONDS_BETWEEN = 50, 15.0
"""After every second fault, on average, the run may train so far, but not for longer."""


@dataclass(frozen=True)
class Found:
    """What a storm left; `problems` are the audit's, seconds are wall time."""

    story: str
    faults: Counter[str]
    steps: int
    generations: int
    problems: tuple[str, ...]
    weights: float
    longest_pause: float
    left: int


def network() -> keras.Model:
    """A smooth network, so that rounding stays rounding; equal weights at every call."""
    keras.utils.set_random_seed(5)
    hidden = [keras.layers.Dense(160, "tanh") for _ in range(2)]
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *hidden, keras.layers.Dense(10)])


def compiled() -> keras.Model:
    """Compiled so that rounding does not grow: a low rate, and an epsilon beside which the gradients that are hardly there
    stay small.

    With Adam's own epsilon a weight whose gradient is nearly nothing moves as far as any other, in a direction that rounding
    decides: plain Keras is then 1.4e-5 away from itself after 1,400 steps if the rows of each batch are summed in another
    order. With this one it is 6e-7 after 2,000 steps and 1.2e-6 after 5,000; a step more or less is at least 1.3e-5.
    `test_soak` measures both.
    """
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-5, epsilon=1e-2), loss)
    return model


def alone(config: RunConfig, data: PreparedData) -> list[Any]:
    """The weights that plain Keras reaches with this configuration in one process."""
    return reference.plain_fit(compiled(), config, data)


def apart(some: Sequence[Any], others: Sequence[Any]) -> float:
    """The largest difference of a weight."""
    return max(float(np.max(np.abs(a - b))) for a, b in zip(some, others, strict=False))


def storm(
    folder: Path, seed: int, seconds: float, deeds: list[str], last: list[str], allreduce: str = "auto"
) -> Found:
    """Train for so long while one of the ``deeds`` after the other is done, then the ``last`` ones; stop and measure."""
    data = lk.data.sample("digits")
    run = lk.launch(
        compiled(), data, workers=2, max_workers=3, standby=1, global_batch=700, epochs=1_000_000, hang_seconds=4,
        max_failures=1000, checkpoint_seconds=1, log_seconds=0.1, allreduce=allreduce, runs_dir=folder,
    )  # fmt: skip
    saboteur = Saboteur(run, seed)
    left = 0
    try:
        until(lambda: run.view().step > 0 or not run.alive, "training")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            saboteur.act(deeds)
            if saboteur.random.random() < 0.5:
                time.sleep(2 * saboteur.random.random())
            else:
                saboteur.let_train(STEPS_BETWEEN, SECONDS_BETWEEN)
        for deed in last:
            saboteur.act([deed])
        saboteur.mend()
        run = saboteur.run
        story = f"seed {seed}, {allreduce}: {', '.join(saboteur.done)}"
        step = run.view().step
        until(lambda: run.status == "running" and run.view().step > step, f"going on after {story}")
        saboteur.driver()
        run.stop()
        until(lambda: not run.alive, f"ended after {story}")
        assert run.status == "stopped", (story, run.cause)
    finally:
        for session in saboteur.sessions:
            for process in processes_of(session):
                left += 1
                process.kill()
    found, view = lk.audit(run), run.view()
    _, arrays = state.load_newest(run.paths.checkpoints)
    expected = alone(run.config.replace(**{"training.max_steps": view.step}), data.prepare())
    pauses = [one["seconds"] for one in view.generations if one["seconds"] is not None]
    problems = found.problems if found.steps == view.step else (*found.problems, "steps are missing")
    return Found(
        story,
        saboteur.faults,
        view.step,
        found.generations,
        problems,
        apart(expected, arrays),
        max(pauses, default=0.0),
        left,
    )
