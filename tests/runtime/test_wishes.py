"""What is wanted: requests granted or refused, and the number of workers that follows the load."""

from __future__ import annotations

import pytest

from lepton_kit.models.footprint import WORKER_BYTES
from lepton_kit.runtime.wishes import Wishes, default_threads
from tests.configs import any_config

PLENTY = 10**12


def wishes(cores: int = 4, global_batch: int = 128, **workers: object) -> Wishes:
    config = any_config(workers=workers, training={"global_batch": global_batch})
    return Wishes(config, cores)


def test_it_begins_with_the_configuration():
    assert wishes(count=3, standby=1).wanted.workers == 3
    assert wishes(count="auto", max_workers=2).wanted.workers == 2
    assert wishes(count="auto", cores=8, global_batch=5).wanted.workers == 5


def test_standbys_have_the_slots_of_hosts_that_workers_leave():
    made = wishes(count=1, standby=2, hosts=["localhost/a:2", "localhost/b:1"])
    assert made.wanted.standby == 2
    assert made.apply("scale", {"workers": 3}, None) is None
    assert (made.wanted.workers, made.wanted.standby) == (3, 0)
    assert made.apply("scale", {"workers": 2}, None) is None
    assert made.wanted.standby == 1


def test_a_request_within_the_limit_is_granted():
    made = wishes(count=1)
    assert made.apply("scale", {"workers": 3}, PLENTY) is None
    assert made.wanted.workers == 3


@pytest.mark.parametrize(
    ("settings", "limit", "reason"),
    [
        ({"count": 1, "max_workers": 4}, 4, "workers.max_workers"),
        ({"count": 1, "global_batch": 3}, 3, "global batch"),
        ({"count": 1}, 64, "set workers.max_workers"),
        ({"count": 70}, 70, "set workers.max_workers"),
        ({"count": 2, "max_workers": 2}, 2, "workers.max_workers"),
        ({"count": "auto"}, 4, "set workers.max_workers"),
    ],
)
def test_a_request_above_the_limit_is_refused_with_the_limit(settings: dict, limit: int, reason: str):
    made = wishes(**settings)
    assert made.apply("scale", {"workers": limit}, PLENTY) is None
    cause = made.apply("scale", {"workers": limit + 1}, PLENTY)
    assert cause is not None
    assert f"got {limit + 1}; expected at most {limit}" in cause
    assert reason in cause
    assert made.wanted.workers == limit


@pytest.mark.parametrize(
    ("settings", "workers"),
    [({"hosts": [{"name": "one", "slots": 3, "via": "slurm"}]}, 3), ({"places": ["cpu", "cpu"]}, 2), ({}, 1)],
)
def test_auto_takes_all_that_nobody_shares_and_else_what_the_pool_gives(settings: dict, workers: int):
    made = wishes(count=1, **settings)
    assert made.apply("scale", {"workers": "auto"}, None) is None
    assert made.auto
    assert made.wanted.workers == workers


def test_a_request_beyond_the_memory_is_refused_with_the_sizes():
    made = wishes(count=1)
    cause = made.apply("scale", {"workers": 3}, int(1.5 * WORKER_BYTES))
    assert cause is not None
    assert "0.7 GB" in cause
    assert made.wanted.workers == 1
    assert made.apply("scale", {"workers": 2}, int(1.5 * WORKER_BYTES)) is None


def test_a_large_model_needs_more_by_its_size_and_then_by_what_it_uses():
    made = wishes(count=1)
    made.note_need(2_000_000_000)
    cause = made.apply("scale", {"workers": 3}, 3_000_000_000)
    assert (
        cause
        == "workers: got 3; 2 more need about 4.0 GB of memory (2.00 GB each, estimated), 3.0 GB are free"
    )
    made.note_use(1_000_000_000)  # it has just begun
    assert made.apply("scale", {"workers": 2}, 1_900_000_000) is not None
    made.note_use(2_500_000_000)
    made.note_need(2_000_000_000)  # another worker is ready
    cause = made.apply("scale", {"workers": 2}, 2_400_000_000)
    assert (
        cause
        == "workers: got 2; 1 more need about 2.5 GB of memory (2.50 GB each, measured), 2.4 GB are free"
    )
    assert made.apply("scale", {"workers": 2}, 2_500_000_000) is None


def test_shrinking_needs_no_memory():
    made = wishes(count=3)
    assert made.apply("scale", {"workers": 1}, 0) is None


def test_pause_resume_stop_and_settings():
    made = wishes()
    made.apply("pause", {}, None)
    assert made.wanted.paused
    made.apply("resume", {}, None)
    assert not made.wanted.paused
    made.apply("set", {"learning_rate": 0.5}, None)
    made.apply("set", {"log_seconds": 2.0}, None)
    assert (made.learning_rate, made.log_seconds) == (0.5, 2.0)
    made.apply("stop", {}, None)
    first = made.stopping_since
    made.apply("stop", {}, None)
    assert made.wanted.stopping
    assert made.stopping_since == first


def test_a_learning_rate_is_refused_where_a_schedule_decides_and_the_rest_goes_on():
    stored = {"kind": "keras", "path": "a.keras", "schedule": "CosineDecay(0.1)"}
    made = Wishes(any_config(model=stored), cores=2)
    cause = made.apply("set", {"learning_rate": 0.5, "log_seconds": 2.0}, None)
    assert (
        cause
        == "learning_rate: got 0.5; expected none: it follows the optimizer's schedule, CosineDecay(0.1)"
    )
    assert (made.learning_rate, made.log_seconds) == (None, 0.25)
    assert made.apply("set", {"log_seconds": 2.0}, None) is None
    other = Wishes(any_config(model=stored, training={"optimizer": "sgd"}), cores=2)
    assert other.apply("set", {"learning_rate": 0.5}, None) is None


def test_a_resumed_run_recalls_what_was_granted_and_nothing_else():
    made = wishes(count=1)
    made.recall(
        [
            {"verb": "scale", "workers": 2, "accepted": True},
            {"verb": "scale", "workers": 9, "accepted": False},
            {"verb": "pause", "accepted": True},
            {"verb": "stop", "accepted": True},
            {"verb": "set", "learning_rate": 0.25, "accepted": True},
        ]
    )
    assert made.wanted.workers == 2
    assert not made.wanted.paused
    assert not made.wanted.stopping
    assert made.learning_rate == 0.25


def test_auto_takes_what_the_pool_gives_within_its_limits_and_a_number_ends_it():
    made = wishes(count="auto", cores=4)
    for given, taken in ((2, 2), (9, 4), (0, 1)):
        made.take(given)
        assert made.workers == taken
    made.apply("scale", {"workers": 3}, PLENTY)
    made.take(1)
    assert (made.auto, made.workers) == (False, 3)
    made.apply("scale", {"workers": "auto"}, PLENTY)
    made.take(1)
    assert (made.auto, made.workers) == (True, 1)


@pytest.mark.parametrize(("count", "threads"), [("auto", 1), (1, 6), (2, 3), (4, 1), (9, 1)])
def test_the_cores_are_shared_by_the_workers_at_the_start(
    monkeypatch: pytest.MonkeyPatch, count: int | str, threads: int
):
    monkeypatch.setattr("lepton_kit.runtime.wishes.usable_cores", lambda: 6)
    assert default_threads(any_config(workers={"count": count})) == threads
