"""Proves from an event log that each sample of each epoch was used exactly once, with the contents it had at launch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lepton_kit.client.run import Run, open_run
from lepton_kit.config import RunConfig
from lepton_kit.data import Split, sharding
from lepton_kit.data.contents import check
from lepton_kit.data.frozen import open_frozen
from lepton_kit.data.proofs import sample_hashes
from lepton_kit.errors import DataError
from lepton_kit.rundir import EventReader, Status


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
        """Whether no sample of any epoch was left out or used twice."""
        return not self.problems

    def __str__(self) -> str:
        verdict = "each sample exactly once per epoch" if self.exactly_once else "; ".join(self.problems[:5])
        return f"{self.steps} steps, {self.samples} samples, {self.generations} generations: {verdict}"


def audit(run: Run | str | Path, runs_dir: str | Path | None = None, *, contents: bool = False) -> Audit:
    """Check a run's log: which steps were trained, on how many samples, and the hashes of these samples.

    Every rank adds the hashes of the samples that it fed, each of its place and of the contents that it had when it
    was decoded, to the allreduce of the step; here they are compared with those of the pure sharding function and of
    the data that were frozen at launch. Whether these are still as they were is told by the sizes and times of their
    files; ``contents`` hashes every byte again, and names the samples that were changed. A resume from a checkpoint
    repeats steps whose effect was lost with the process: the log's last word on a step counts. Of a run of an older
    version, whose data were not frozen, places alone are proved.
    """
    run = run if isinstance(run, Run) else open_run(run, runs_dir)
    steps: dict[int, tuple[int, int]] = {}
    generations, problems, plan = 0, [], None
    expected = 0
    for event in EventReader(run.paths.events).poll():
        if event["kind"] == "plan":
            plan = event
        elif event["kind"] == "generation":
            generations += 1
            for step in [step for step in steps if step >= event["step"]]:
                del steps[step]
            expected = min(expected, event["step"])
        elif event["kind"] == "steps":
            first, last = event["first"], event["last"]
            if first != expected:
                problems.append(
                    f"steps {_span(expected, first)} {'are missing' if first > expected else 'were trained twice'}"
                )
            steps |= zip(range(first, last), zip(event["checksum"], event["fed"], strict=True), strict=True)
            expected = last
    if plan is None:
        return Audit(0, 0, generations, ("the run has not begun to train",))
    first = run.config.training.initial_epoch * plan["steps_per_epoch"]
    fed_at = {step + first: fed for step, fed in steps.items()}
    split, lost = _frozen_split(run, contents)
    problems += lost
    if split is not None and len(split) != plan["samples"]:
        told = f"the log tells of {plan['samples']} samples; the data that were frozen have {len(split)}"
        problems.append(told)
    elif split is not None or run.config.frozen is None:
        problems += _compare(fed_at, run.config, plan["samples"], plan["global_batch"], split)
    if run.status is Status.FINISHED and run.cause is None and expected != plan["total_steps"]:
        problems.append(f"the run finished after {expected} of {plan['total_steps']} steps")
    return Audit(len(steps), sum(fed for _, fed in steps.values()), generations, tuple(problems))


def _frozen_split(run: Run, every_byte: bool) -> tuple[Split | None, list[str]]:
    """The samples to train on as they were frozen (None if none were), and what is wrong with them."""
    if run.config.frozen is None:
        lost = "contents can't be checked: this run's data were not frozen when it began"
        return None, [lost] if every_byte else []
    try:
        data = open_frozen(run.config, run.directory)
    except DataError as failure:
        return None, [str(failure)]
    return data.train, check(data, every_byte=True) if every_byte else []


def _span(one: int, other: int) -> str:
    return f"{min(one, other)}..{max(one, other) - 1}"


def _compare(
    steps: dict[int, tuple[int, int]], config: RunConfig, samples: int, global_batch: int, split: Split | None
) -> list[str]:
    problems = []
    for step, (checksum, fed) in sorted(steps.items()):
        batch = sharding.batch_of(
            step,
            seed=config.seed,
            samples=samples,
            global_batch=global_batch,
            shuffle=config.training.shuffle,
            order=config.training.order,
        )
        contents = split.hashes_of(batch) if split is not None else None
        if fed != len(batch):
            problems.append(f"step {step}: {fed} samples were fed instead of {len(batch)}")
        elif checksum != int(sample_hashes(batch, contents).sum(dtype=np.uint64)):
            problems.append(f"step {step}: other samples were fed than those of this step")
    return problems
