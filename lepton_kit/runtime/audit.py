"""Proves from an event log that each sample of each epoch was used exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lepton_kit.data import sharding
from lepton_kit.runs import EventReader
from lepton_kit.runtime.run import Run, open_run
from lepton_kit.training.step import sample_hashes


@dataclass(frozen=True)
class Audit:
    """What an event log says about the samples of a run.

    `problems` is empty if every step was trained once, in order, on just the samples of its global batch.
    """

    steps: int
    samples: int
    generations: int
    problems: tuple[str, ...]

    @property
    def exactly_once(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        verdict = "each sample exactly once per epoch" if self.exactly_once else "; ".join(self.problems[:5])
        return f"{self.steps} steps, {self.samples} samples, {self.generations} generations: {verdict}"


def audit(run: Run | str | Path, runs_dir: str | Path = "runs") -> Audit:
    """Check a run's log: which steps were trained, on how many samples, and the hashes of the samples' indices.

    Every rank adds the hashes of the indices that it really fed to the allreduce of the step; here they are compared
    with those of the pure sharding function. A resume from a checkpoint repeats steps whose effect was lost with the
    process: the log's last word on a step counts.
    """
    run = run if isinstance(run, Run) else open_run(run, runs_dir)
    spans: list[dict[str, int]] = []
    generations, problems, plan = 0, [], None
    for event in EventReader(run.paths.events).poll():
        if event["kind"] == "plan":
            plan = event
        elif event["kind"] == "generation":
            generations += 1
            kept = [span for span in spans if span["last"] <= event["step"]]
            problems += [
                f"steps {span['first']}..{span['last'] - 1} were logged as one report and cut by a resume at "
                f"{event['step']}"
                for span in spans
                if span["first"] < event["step"] < span["last"]
            ]
            spans = kept
        elif event["kind"] == "steps":
            spans.append(event)
    if plan is None:
        return Audit(0, 0, generations, ("the run has not begun to train",))
    expected, samples = 0, 0
    for span in spans:
        if span["first"] != expected:
            word = "missing" if span["first"] > expected else "trained twice"
            problems.append(f"steps {min(expected, span['first'])}..{max(expected, span['first']) - 1} are {word}")
        problems += _compare(span, run.config.seed, plan["samples"], plan["global_batch"])
        expected, samples = span["last"], samples + span["fed"]
    if run.status == "finished" and expected != plan["total_steps"]:
        problems.append(f"the run finished after {expected} of {plan['total_steps']} steps")
    return Audit(expected, samples, generations, tuple(problems))


def _compare(span: dict[str, int], seed: int, samples: int, global_batch: int) -> list[str]:
    checksum = count = 0
    for step in range(span["first"], span["last"]):
        epoch, within = sharding.position(step, samples, global_batch)
        batch = sharding.epoch_order(seed, epoch, samples)[within * global_batch : (within + 1) * global_batch]
        checksum += int(sample_hashes(batch).sum(dtype=np.uint64))
        count += len(batch)
    name = f"steps {span['first']}..{span['last'] - 1}"
    if span["fed"] != count:
        return [f"{name}: {span['fed']} samples were fed instead of {count}"]
    return [] if span["checksum"] == checksum else [f"{name}: other samples were fed than those of these steps"]
