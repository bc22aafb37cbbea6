"""Proves from an event log that each sample of each epoch was used exactly once, with the contents it had at launch."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.client.run import Run, open_run
from lepton_kit.config import RunConfig
from lepton_kit.data import Split, sharding
from lepton_kit.data.contents import check
from lepton_kit.data.frozen import open_frozen
from lepton_kit.data.proofs import sample_hashes
from lepton_kit.errors import DataError
from lepton_kit.rundir import EventReader, Status
from lepton_kit.rundir.fields import WRONG
from lepton_kit.rundir.fields import check as check_fields

MOST_PROBLEMS = 1000


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
    told = _Told()
    generations, problems, plan = 0, _Problems(), None
    expected, ended_well = 0, False
    for event in EventReader(run.paths.events).stream():
        try:
            check_fields(event)
        except WRONG:
            continue  # as every reader passes over it; the steps that it should tell of are missing then
        if event["kind"] == "plan":
            plan = event
        elif event["kind"] == "status":
            ended_well = (event["status"], event["cause"]) == (Status.FINISHED, None)
        elif event["kind"] == "generation":
            generations += 1
            told.forget(event["step"])
            expected = min(expected, event["step"])
        elif event["kind"] == "steps":
            first, last = event["first"], event["last"]
            if first != expected:
                problems.add(
                    f"steps {_span(expected, first)} {'are missing' if first > expected else 'were trained twice'}"
                )
            if not told.add(first, last, event.get("checksum"), event.get("fed")):
                problems.add(f"steps {_span(first, last)}: the log does not say what was fed in each")
            expected = last
    if plan is None:
        return Audit(0, 0, generations, ("the run has not begun to train",))
    for name in ("samples", "global_batch", "steps_per_epoch", "total_steps"):
        if type(plan.get(name)) is not int or plan[name] < 1:
            return Audit(0, 0, generations, (f"the log's plan is damaged: {name} is {plan.get(name)!r:.80}",))
    split, lost = _frozen_split(run, contents)
    for problem in lost:
        problems.add(problem)
    if split is not None and len(split) != plan["samples"]:
        problems.add(
            f"the log tells of {plan['samples']} samples; the data that were frozen have {len(split)}"
        )
    elif split is not None or run.config.frozen is None:
        _compare(told, run.config, plan, split, problems)
    if ended_well and expected != plan["total_steps"]:
        problems.add(f"the run finished after {expected} of {plan['total_steps']} steps")
    return Audit(told.steps, told.samples, generations, problems.told)


class _Told:
    """What the log says of each step, 16 bytes a step: its checksum, and how many samples were fed."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, array[int], array[int]]] = []

    def add(self, first: int, last: int, checksums: Any, fed: Any) -> bool:
        """Note what a report says; False if it does not say it of each of its steps."""
        self.forget(first)
        try:
            more = array("Q", checksums), array("q", fed)
        except (TypeError, OverflowError):
            return False
        if not len(more[0]) == len(more[1]) == last - first:
            return False
        if not self._rows or self._rows[-1][0] + len(self._rows[-1][1]) != first:
            self._rows.append((first, array("Q"), array("q")))
        self._rows[-1][1].extend(more[0])
        self._rows[-1][2].extend(more[1])
        return True

    def forget(self, step: int) -> None:
        """What was said of the steps from this one on counts no more."""
        while self._rows and self._rows[-1][0] >= step:
            self._rows.pop()
        if self._rows:
            first, checksums, fed = self._rows[-1]
            del checksums[step - first :], fed[step - first :]

    def each(self) -> Iterator[tuple[int, int, int]]:
        """Step, checksum and number of samples, in order."""
        for first, checksums, fed in self._rows:
            yield from zip(range(first, first + len(fed)), checksums, fed, strict=True)

    @property
    def steps(self) -> int:
        return sum(len(fed) for _, _, fed in self._rows)

    @property
    def samples(self) -> int:
        return sum(sum(fed) for _, _, fed in self._rows)


class _Problems:
    """Problems in words: the first ones, and how many more there are."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._more = 0

    def add(self, text: str) -> None:
        if len(self._first) < MOST_PROBLEMS:
            self._first.append(text)
        else:
            self._more += 1

    @property
    def told(self) -> tuple[str, ...]:
        more = [f"and {self._more} more"] if self._more else []
        return (*self._first, *more)


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
    told: _Told, config: RunConfig, plan: dict[str, Any], split: Split | None, problems: _Problems
) -> None:
    before = config.training.initial_epoch * plan["steps_per_epoch"]
    for step, checksum, fed in told.each():
        batch = sharding.batch_of(
            step + before,
            seed=config.seed,
            samples=plan["samples"],
            global_batch=plan["global_batch"],
            shuffle=config.training.shuffle,
            order=config.training.order,
        )
        contents = split.hashes_of(batch) if split is not None else None
        if fed != len(batch):
            problems.add(f"step {step + before}: {fed} samples were fed instead of {len(batch)}")
        elif checksum != int(sample_hashes(batch, contents).sum(dtype=np.uint64)):
            problems.add(f"step {step + before}: other samples were fed than those of this step")
