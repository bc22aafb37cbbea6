"""Workers made slow for real, on both paths: the clocks tell what each waited for, and the log names who was slow, and why."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

import keras
import pytest

import lepton_kit as lk
from lepton_kit.errors import RunError
from lepton_kit.rundir.events import EventReader
from tests.processes import eventually, processes_of

pytestmark = pytest.mark.processes
DATA_SECONDS = 0.25
"""Far more than a step computes, so that what is known outweighs what is not."""


@pytest.fixture(scope="module", params=["auto", pytest.param("horovod", marks=pytest.mark.long)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lk.Run]:
    dense = keras.layers.Dense
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), dense(256), dense(256), dense(10)]
    )
    made = lk.launch(
        model, lk.data.sample("digits"), workers=2, allreduce=request.param, global_batch=600, epochs=100_000,
        hang_seconds=200, log_seconds=0.3, runs_dir=tmp_path_factory.mktemp("slowed"),
    )  # fmt: skip
    try:
        eventually(lambda: made.view().step > 30, "training")
        yield made
    finally:
        made.stop()
        made.wait(60)
        for process in processes_of(made.view().driver_pid or -1):
            process.kill()


def reports(run: lk.Run, count: int) -> list[dict[str, Any]]:
    """So many that come from now on; the block that is under way counts for nothing."""
    begin = run.view().step

    def told() -> list[dict[str, Any]]:
        events = EventReader(run.paths.events).stream()
        return [one for one in events if one["kind"] == "steps" and one["first"] > begin][1:]

    eventually(lambda: len(told()) >= count, f"{count} reports")
    return told()[:count]


def sums(told: list[dict[str, Any]], name: str) -> list[float]:
    return [sum(one[name][rank] for one in told) for rank in range(2)]


def ahead(one: dict[str, Any], rank: int) -> float:
    """Seconds of a report until a rank had its part of the sums."""
    return one["data"][rank] + one["busy"][rank]


def spent(one: dict[str, Any], rank: int) -> float:
    return ahead(one, rank) + one["waited"][rank]


def test_what_a_rank_rests_is_what_the_other_waits(run: lk.Run):
    run.slow_data(1, DATA_SECONDS)
    try:
        assert run.view().workers
        told = reports(run, 6)
        # Others on the machine wake a sleeper late, and stop a rank between two readings; half of the reports are without them.
        assert (
            median(abs(one["data"][1] / (one["last"] - one["first"]) / DATA_SECONDS - 1) for one in told)
            < 0.05
        )
        assert median(abs(spent(one, 0) / spent(one, 1) - 1) for one in told) < 0.05
        assert (
            median(
                abs((one["waited"][0] - one["waited"][1]) / (ahead(one, 1) - ahead(one, 0)) - 1)
                for one in told
            )
            < 0.05
        )
        (slow,) = [one["slowed"] for one in run.view().workers if one["rank"] == 1]
        assert slow == {"data_seconds": DATA_SECONDS}

        def named() -> bool:
            found = run.view().ranks.straggler()
            return found is not None and (found.rank, found.cause) == (1, "data")

        eventually(named, "rank 1 named, for its data")
    finally:
        run.slow_data(1, 0)
    assert max(sums(reports(run, 1), "data")) < 0.5 * sums(told[:1], "data")[1]


def test_a_rank_that_computes_slowly_is_named_and_undone(run: lk.Run):
    eventually(lambda: run.view().ranks.straggler() is None, "nobody slow")
    run.slow_down(0, 8)

    def named() -> bool:
        found = run.view().ranks.straggler()
        return found is not None and found.rank == 0 and found.factor > 2 and found.became

    eventually(named, "rank 0 named")
    told = reports(run, 2)
    busy, waited = (sums(told, name) for name in ("busy", "waited"))
    assert busy[0] > 2 * busy[1]
    assert waited[1] > waited[0]
    run.slow_down(0, 1)
    eventually(lambda: not any(one["slowed"] for one in run.view().workers), "undone")


def test_who_is_slow_stays_so_in_another_ring(run: lk.Run):
    if run.config.workers.allreduce == "horovod":
        pytest.skip("a ring of Horovod forms slowly, and this is no matter of how ranks sum")
    run.slow_down(1, 2)
    run.scale(3)
    eventually(lambda: run.view().counts()["training"] == 3, "three workers")
    eventually(lambda: [one["slowed"] for one in run.view().workers].count({"factor": 2}) == 1, "one is slow")
    with pytest.raises(RunError, match="rank: got 7; expected a rank from 0 to 2"):
        run.slow_down(7, 2)
