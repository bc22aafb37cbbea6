"""Hosts of which one is slow, and hosts with a slow link: each is told as what it is, and a rank without samples holds nobody up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.rundir.events import EventReader
from lepton_kit.training import state
from tests.hosts.lab import Lab
from tests.processes import PATIENCE, trains, until
from tests.soak.storm import alone, apart, compiled

pytestmark = pytest.mark.processes
FAST, SLOW = "10gbit", "20mbit"
"""What the sums of a step (150 kB) take next to nothing of, and what they take most of the time of."""


@pytest.fixture
def begin(net: Lab, tmp_path: Path) -> Iterator[Callable[..., lk.Run]]:
    """Begins runs on both hosts, a worker each, which end with the test; the links are fast then."""
    begun = []

    def launched(**options: Any) -> lk.Run:
        given = {
            "workers": 2,
            "hosts": "one,two",
            "epochs": 1_000_000,
            "hang_seconds": 200,
            "log_seconds": 0.1,
        }
        begun.append(lk.launch(compiled(), lk.data.sample("digits"), runs_dir=tmp_path, **given | options))
        until(trains(begun[-1], 2), "training on both", begun[-1])
        return begun[-1]

    try:
        yield launched
    finally:
        shape(net, FAST)
        for run in begun:
            if run.alive:
                run.stop().wait(PATIENCE)


def shape(net: Lab, rate: str) -> None:
    for host in net.hosts.values():
        host.shape(rate)


def samples(run: lk.Run) -> list[list[int]]:
    """What the ranks of each report had."""
    return [one["samples"] for one in EventReader(run.paths.events).stream() if one["kind"] == "steps"]


def exact(run: lk.Run) -> None:
    """Each sample counted once, and the weights are those of one process."""
    view, found = run.view(), lk.audit(run)
    assert (run.status, found.problems, found.steps) == ("stopped", (), view.step), run.cause
    assert view.generations[-1]["collective"] == run.config.workers.allreduce
    _, arrays = state.load_newest(run.paths.checkpoints)
    expected = alone(run.config.replace(**{"training.max_steps": view.step}), run.data().prepare())
    assert apart(expected, arrays) < 1e-5


@pytest.mark.long
def test_a_rank_of_a_flat_ring_without_samples_holds_nobody_up(begin: Callable[..., lk.Run]):
    unequal = [{"name": "one", "speed": 1000.0}, {"name": "two", "speed": 1.0}]
    run = begin(allreduce="horovod", hosts=unequal, global_batch=300)
    until(lambda: run.view().step > 50, "training on", run)
    run.stop().wait(PATIENCE)
    exact(run)
    assert {tuple(one[1:]) for one in samples(run)} == {(0,)}


@pytest.mark.long
def test_a_slow_host_of_a_flat_ring_gets_less_until_it_gets_nothing(begin: Callable[..., lk.Run]):
    run = begin(allreduce="horovod", weights="auto", global_batch=300)
    run.slow_down(1, 20)
    until(lambda: samples(run)[-1][1] == 0, "nothing for who is slow", run)
    step = run.view().step
    until(lambda: run.view().step > step + 50, "training on", run)
    run.stop().wait(PATIENCE)
    exact(run)


@pytest.mark.soak  # what is slow is judged beside the rest of the machine, which has to be quiet
@pytest.mark.parametrize("way", ["hierarchical", "horovod"])
def test_a_slow_link_and_a_slow_rank_are_told_apart(begin: Callable[..., lk.Run], net: Lab, way: str):
    shape(net, SLOW)
    run = begin(global_batch=300, **{"allreduce": way} if way == "horovod" else {})

    def ranks() -> Any:
        return run.view().ranks

    def told(words: str) -> Callable[[], bool]:
        return lambda: words in (ranks().told() or "")

    until(told("(a link too slow for this model and batch)"), "a link that was slow from the start", run)
    assert ranks().straggler() is None
    assert not ranks().slow_link().became
    shape(net, FAST)
    until(lambda: ranks().slow_link() is None, "a link that is fast", run)
    shape(net, SLOW)
    until(told("(a slow link)"), "a link that became slow", run)
    assert ranks().straggler() is None
    assert ranks().slow_link().became
    shape(net, FAST)
    until(lambda: ranks().slow_link() is None, "a link that is fast again", run)
    run.slow_down(1, 3)
    until(told("rank 1 takes"), "a slow rank", run)
    assert ranks().slow_link() is None
    assert run.view().generations[-1]["collective"] == way
    assert run.view().incidents == []
