"""Every way in which a log can fail to prove that each sample was used exactly once."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_kit.client.audit import audit
from lepton_kit.data import arrays, sharding
from lepton_kit.data.frozen import KEPT, open_frozen, with_data
from lepton_kit.data.proofs import sample_hashes
from lepton_kit.rundir import RunPaths, RunView
from tests.configs import any_config

SAMPLES, BATCH, STEPS = 10, 4, 6
PLAN = {
    "kind": "plan", "samples": SAMPLES, "validation_samples": 0, "global_batch": BATCH,
    "steps_per_epoch": 3, "epochs": 2, "total_steps": STEPS, "parameters": 1,
}  # fmt: skip


def report(
    first: int, last: int, shuffle: bool = True, hashes: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    checksums, counts = [], []
    for step in range(first, last):
        indices = sharding.batch_of(step, seed=seed, samples=SAMPLES, global_batch=BATCH, shuffle=shuffle)
        contents = None if hashes is None else hashes[indices]
        checksums.append(int(sample_hashes(indices, contents).sum(dtype=np.uint64)))
        counts.append(len(indices))
    return {
        "kind": "steps", "generation": 1, "first": first, "last": last, "world_size": 1,
        "loss": [1.0 / (step + 1) for step in range(first, last)], "metrics": {}, "seconds": 0.1,
        "busy": [0.1], "samples": [sum(counts)], "fed": counts, "checksum": checksums, "learning_rate": 0.1,
    }  # fmt: skip


def generation(step: int) -> dict[str, Any]:
    return {"kind": "generation", "generation": 1, "world_size": 1, "ranks": [0], "cut": [4], "step": step}


def status(value: str) -> dict[str, Any]:
    return {"kind": "status", "status": value, "cause": None, "driver_pid": 1}


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    made = RunPaths(tmp_path / "run")
    made.create()
    made.config.write_text(any_config().to_yaml())
    return made


def write(paths: RunPaths, *events: dict[str, Any]) -> None:
    lines = [json.dumps({"time": float(k), **event}) for k, event in enumerate(events)]
    paths.events.write_text("\n".join(lines) + "\n")


def test_an_undisturbed_run_is_proved(paths: RunPaths):
    write(paths, PLAN, generation(0), report(0, 3), report(3, 6), status("finished"))
    found = audit(paths.root)
    assert found.problems == ()
    assert found.exactly_once
    assert (found.steps, found.samples, found.generations) == (6, 20, 1)
    assert "exactly once" in str(found)


def test_a_run_without_shuffling_is_held_to_the_order_of_the_data(paths: RunPaths):
    config = any_config().replace(**{"training.shuffle": False})
    paths.config.write_text(config.to_yaml())
    write(paths, PLAN, generation(0), report(0, 6, shuffle=False), status("finished"))
    assert audit(paths.root).problems == ()
    write(paths, PLAN, generation(0), report(0, 6), status("finished"))
    assert len(audit(paths.root).problems) == 6


def test_a_resume_in_the_middle_of_a_report_takes_back_just_the_steps_after_it(paths: RunPaths):
    write(paths, PLAN, generation(0), report(0, 5), generation(2), report(2, 6), status("finished"))
    assert audit(paths.root).problems == ()
    view = RunView(paths.events)
    view.refresh()
    assert view.steps.tolist() == list(range(6))
    assert view.loss == pytest.approx([1.0 / (step + 1) for step in range(6)])


def test_steps_that_the_log_had_lost_come_again_after_a_resume(paths: RunPaths):
    write(paths, PLAN, generation(0), report(0, 2), generation(4), report(2, 4), report(4, 6))
    assert audit(paths.root).problems == ()


def test_a_gap_is_told(paths: RunPaths):
    write(paths, PLAN, generation(0), report(0, 2), report(4, 6))
    assert audit(paths.root).problems == ("steps 2..3 are missing",)


def test_steps_that_were_trained_twice_are_told(paths: RunPaths):
    write(paths, PLAN, generation(0), report(0, 3), report(2, 6))
    assert audit(paths.root).problems == ("steps 2..2 were trained twice",)


def test_other_samples_are_told(paths: RunPaths):
    wrong = report(0, 6)
    wrong["checksum"][1] += 1
    write(paths, PLAN, generation(0), wrong)
    assert audit(paths.root).problems == ("step 1: other samples were fed than those of this step",)


def test_a_wrong_number_of_samples_is_told(paths: RunPaths):
    wrong = report(0, 6)
    wrong["fed"][2] = 3
    write(paths, PLAN, generation(0), wrong)
    assert audit(paths.root).problems == ("step 2: 3 samples were fed instead of 2",)


def test_a_run_that_says_finished_too_early_is_told(paths: RunPaths):
    write(paths, PLAN, generation(0), report(0, 5), status("finished"))
    assert audit(paths.root).problems == ("the run finished after 5 of 6 steps",)


def test_a_run_that_has_not_begun_is_told(paths: RunPaths):
    write(paths, status("starting"))
    found = audit(paths.root)
    assert not found.exactly_once
    assert "not begun" in str(found)


@pytest.fixture
def frozen(paths: RunPaths) -> np.ndarray:
    """The content hashes of the data that the run of ``paths`` has frozen."""
    x = np.arange(SAMPLES, dtype=np.float32)[:, None]
    data = arrays(x, np.arange(SAMPLES) % 2, validation_split=0).prepare()
    config = with_data(any_config().replace(data=KEPT), data, paths.root)
    paths.config.write_text(config.to_yaml())
    hashes = open_frozen(config, paths.root).train.hashes
    assert hashes is not None
    return np.asarray(hashes)


def test_contents_are_proved_where_the_data_were_frozen(paths: RunPaths, frozen: np.ndarray):
    write(paths, PLAN, generation(0), report(0, 6, hashes=frozen), status("finished"))
    assert audit(paths.root).problems == ()
    assert audit(paths.root, contents=True).problems == ()


def test_other_contents_at_the_right_places_are_told(paths: RunPaths, frozen: np.ndarray):
    other = frozen.copy()
    other[0] ^= np.uint64(1)
    write(paths, PLAN, generation(0), report(0, 6, hashes=other))
    steps = [
        step for step in range(STEPS)
        if 0 in sharding.batch_of(step, seed=0, samples=SAMPLES, global_batch=BATCH)
    ]  # fmt: skip
    assert audit(paths.root).problems == tuple(
        f"step {step}: other samples were fed than those of this step" for step in steps
    )


def test_places_alone_prove_nothing_where_the_data_were_frozen(paths: RunPaths, frozen: np.ndarray):
    write(paths, PLAN, generation(0), report(0, 6))
    assert len(audit(paths.root).problems) == STEPS


def test_data_that_can_t_be_opened_any_more_are_told(paths: RunPaths, frozen: np.ndarray):
    write(paths, PLAN, generation(0), report(0, 6, hashes=frozen))
    (paths.data / "train.hashes.npy").unlink()
    (problem,) = audit(paths.root).problems
    assert "were given as arrays or a stream, and the run's own copy of it" in problem


def test_a_log_of_other_data_is_told(paths: RunPaths, frozen: np.ndarray):
    write(paths, {**PLAN, "samples": 12}, generation(0), report(0, 6, hashes=frozen))
    assert audit(paths.root).problems == ("the log tells of 12 samples; the data that were frozen have 10",)


def test_contents_of_a_run_that_froze_nothing_can_t_be_checked(paths: RunPaths):
    write(paths, PLAN, generation(0), report(0, 6))
    assert audit(paths.root).problems == ()
    (problem,) = audit(paths.root, contents=True).problems
    assert "were not frozen" in problem


@pytest.mark.parametrize("change", [-1, 1])
def test_a_checksum_that_is_too_small_is_as_wrong_as_one_too_large(paths: RunPaths, change: int):
    wrong = report(0, 6)
    wrong["checksum"][1] += change
    write(paths, PLAN, generation(0), wrong)
    assert audit(paths.root).problems == ("step 1: other samples were fed than those of this step",)


def test_the_audit_goes_by_the_runs_own_seed(paths: RunPaths):
    paths.config.write_text(any_config().replace(seed=7).to_yaml())
    write(paths, PLAN, generation(0), report(0, 6, seed=7))
    assert audit(paths.root).problems == ()
    write(paths, PLAN, generation(0), report(0, 6))
    assert "other samples were fed" in audit(paths.root).problems[0]


@pytest.mark.parametrize(
    ("name", "value"), [("fed", None), ("fed", [4]), ("checksum", [-1] * 6), ("checksum", "abcdef")]
)
def test_a_report_that_proves_nothing_is_a_problem_not_a_failure(paths: RunPaths, name: str, value: Any):
    write(paths, PLAN, generation(0), {**report(0, 6), name: value}, status("finished"))
    assert audit(paths.root).problems == ("steps 0..5: the log does not say what was fed in each",)


@pytest.mark.parametrize("value", [None, "10", 0, -3])
def test_a_plan_that_can_not_be_read_is_a_problem_not_a_failure(paths: RunPaths, value: Any):
    write(paths, {**PLAN, "samples": value}, generation(0), report(0, 6))
    assert audit(paths.root).problems == (f"the log's plan is damaged: samples is {value!r}",)


def test_of_a_thousand_problems_the_others_are_counted(paths: RunPaths):
    spoilt = {**report(0, 6), "fed": [1] * 6}
    write(
        paths,
        {**PLAN, "total_steps": 3000},
        *(spoilt | {"first": 6 * k, "last": 6 * k + 6} for k in range(500)),
    )
    problems = audit(paths.root).problems
    assert len(problems) == 1001
    assert problems[-1] == "and 2000 more"


def peak(paths: RunPaths, steps: int) -> int:
    """Bytes that the audit of a log of so many steps needs at most; none is in order."""
    each = 50
    with open(paths.events, "w") as file:
        for k, event in enumerate([{**PLAN, "total_steps": steps}, generation(0)]):
            file.write(json.dumps({"time": float(k), **event}) + "\n")
        row = {**report(0, 1), "loss": [0.1234567] * each, "fed": [BATCH] * each, "checksum": [2**62] * each}
        for first in range(0, steps, each):
            file.write(json.dumps({"time": 2.0, **row, "first": first, "last": first + each}) + "\n")
    tracemalloc.start()
    try:
        assert audit(paths.root).steps == steps
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_log_is_audited_in_little_memory(paths: RunPaths):
    """4 million steps in some 100 MB: what a step adds is what is kept of it, not its part of the log."""
    peak(paths, 1000)  # what is loaded and cached once
    more = 40_000
    a_step = (peak(paths, 10_000 + more) - peak(paths, 10_000)) / more
    assert a_step < 25
