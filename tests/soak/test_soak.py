"""Random faults, from a seed: after them no sample is lost or repeated and no process, zombie or port is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest

import lepton_kit as lk
from lepton_kit.data import sharding
from lepton_kit.training import reference
from tests.soak.saboteur import CHEAP, EVERYTHING, Saboteur
from tests.soak.storm import Found, alone, apart, compiled, storm

pytestmark = pytest.mark.processes
SAME = 1e-5
"""Rounding alone, after some thousand steps in another order of summing, is a fifth of it; a step more or less is more."""


def test_a_short_storm(tmp_path: Path):
    last = ["kill_worker", "damage_a_checkpoint", "tear_the_log"]
    found = storm(tmp_path, seed=7, seconds=20, deeds=CHEAP, last=last)
    assert found.problems == (), found.story
    assert found.left == 0, found.story
    assert found.weights < SAME, found.story
    assert found.steps > 0
    zombies = [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    assert zombies == [], found.story


@pytest.mark.parametrize("steps", [20, 400])
def test_the_comparison_of_weights_sees_a_step_that_is_missing_and_no_other_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
):
    data = lk.data.sample("digits")
    config = lk.launch(
        compiled(), data, workers=1, global_batch=700, epochs=1_000_000, max_steps=1, runs_dir=tmp_path
    ).wait().config  # fmt: skip

    def trained(some: int) -> list[np.ndarray]:
        return alone(config.replace(**{"training.max_steps": some}), data.prepare())

    expected = trained(steps)
    assert apart(expected, trained(steps - 1)) > SAME
    monkeypatch.setattr(reference.sharding, "shard", in_another_order)
    assert 0 < apart(expected, trained(steps)) < SAME / 5


def in_another_order(
    *, step: int, shard: Callable[..., list[np.ndarray]] = sharding.shard, **cut: Any
) -> list[np.ndarray]:
    """The same rows of each batch, in another order."""
    (rows,) = shard(step=step, **cut)
    return [np.random.default_rng(step).permutation(rows)]


def test_the_page_adds_up_what_the_storms_found(script: Callable[..., ModuleType]):
    made = [
        Found("one", Counter({"a worker is killed": 2}), 70, 3, (), 1e-7, 0.5, 0),
        Found(
            "two",
            Counter({"a worker is killed": 1, "the disk is full": 1}),
            30,
            2,
            ("steps 1..2 are missing",),
            3e-6,
            2.25,
            1,
        ),
    ]
    page = script("soak").page(made, 12.4, "2 cores", "2026-11-26")
    assert (
        "Measured 2026-11-26 on 2 cores: 2 storms in 12 minutes, 4 faults, 100 steps, 5 generations." in page
    )
    assert "(findings of the audit) | 1 |" in page
    assert "plain Keras | 3.0e-06 |" in page
    assert "driver's life | 2.2 s |" in page
    assert "left behind | 1 |" in page
    assert "| a worker is killed | 3 |\n| the disk is full | 1 |" in page
    assert "- steps 1..2 are missing" in page
    assert "What the audit found" not in script("soak").page(made[:1], 1, "2 cores", "2026-11-26")


def test_every_kind_of_fault_has_a_name_in_words():
    assert len(EVERYTHING) == 17
    assert set(CHEAP) < set(EVERYTHING)
    names = [getattr(Saboteur, deed).__doc__ for deed in EVERYTHING]
    assert len(set(names)) == len(names)
    assert not any("\n" in name for name in names)
