"""Simulated jobs: conserved work, policies that keep their rules, and the pool beside them at the load it is made for."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.errors import ConfigError, DataError
from lepton_kit.planning import policies, traces
from lepton_kit.planning.policies import State
from lepton_kit.planning.simulator import Outcome, jain, percentile, simulate
from lepton_kit.planning.traces import Job, amdahl, philly_like, read_trace

LINEAR = tuple(float(n) for n in range(1, 9))
ALL = {
    "fifo": policies.fifo,
    "easy": policies.easy_backfill,
    "las": policies.least_attained_service,
    "equal": policies.equal_share,
    "pool": policies.pool(2.0),
    "unknown": policies.pool(2.0, sizes_known=False),
    "suspending": policies.pool(2.0, suspendable=True),
}


@st.composite
def workloads(draw: st.DrawFn) -> list[Job]:
    return [
        Job(
            f"j{number}",
            draw(st.floats(0, 500)),
            draw(st.floats(1, 3000)),
            draw(st.integers(1, 4)),
            draw(st.sampled_from([LINEAR, amdahl(0.9, most=8), (1.0,) * 8])),
        )
        for number in range(draw(st.integers(1, 8)))
    ]


@settings(max_examples=25)
@given(workloads(), st.sampled_from(sorted(ALL)))
def test_each_job_ends_after_its_work_and_never_sooner_than_all_devices_could(jobs: list[Job], name: str):
    found = simulate(jobs, 4, ALL[name], pause=2.0)
    for job, taken in zip(jobs, found.finish, strict=True):
        assert taken >= job.work / job.speed(4) * (1 - 1e-6)
    assert 0 < found.utilisation <= 1 + 1e-9
    assert (
        found.makespan
        >= max(job.arrival + taken for job, taken in zip(jobs, found.finish, strict=True)) - 1e-3
    )


ONE = [Job("a", 0.0, 100.0, 1, LINEAR)]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (lambda jobs, devices, now: {}, "none had any for a day"),
        (lambda jobs, devices, now: {"b": 1}, "policy: got {'b': 1}"),
        (lambda jobs, devices, now: {"a": 3}, "policy: got '3 devices'; expected whole numbers .* 2 in all"),
        (lambda jobs, devices, now: {"a": -1}, "policy: got {'a': -1}"),
        (lambda jobs, devices, now: {"a": 1.5}, "policy: got {'a': 1.5}"),
        (lambda jobs, devices, now: None, "policy: got None"),
    ],
)
def test_a_policy_that_gives_what_can_not_be_is_refused_and_one_that_gives_nothing_ends(policy, said: str):
    """As those that are written in a lesson."""
    with pytest.raises(ConfigError, match=said):
        simulate(ONE, 2, policy)


def test_a_policy_may_wait_for_a_while():
    found = simulate(ONE, 2, lambda jobs, devices, now: {"a": 1} if now > 3600 else {}, look=60.0)
    assert found.finish[0] == pytest.approx(3660.0 + 100.0)


@pytest.mark.parametrize(
    ("devices", "options", "field"),
    [
        (0, {}, "devices"),
        (1.5, {}, "devices"),
        ("2", {}, "devices"),
        (2, {"pause": -1.0}, "pause"),
        (2, {"look": 0.0}, "look"),
    ],
)
def test_a_machine_that_can_not_be_is_refused(devices, options: dict, field: str):
    with pytest.raises(ConfigError, match=field):
        simulate(ONE, devices, policies.fifo, **options)


def test_fixed_devices_take_the_durations_of_the_trace():
    jobs = [Job("a", 0.0, 100.0, 2, LINEAR), Job("b", 10.0, 50.0, 2, LINEAR), Job("c", 20.0, 10.0, 1, LINEAR)]
    assert simulate(jobs, 2, policies.fifo).finish == pytest.approx((100.0, 140.0, 140.0))
    assert simulate(jobs, 5, policies.fifo).finish == pytest.approx((100.0, 50.0, 10.0), abs=1.1)


def running(name: str, devices: int, left: float, job_devices: int | None = None) -> State:
    job = Job(name, 0.0, left, job_devices or devices, LINEAR)
    return State(job, devices=devices, started=0.0)


def test_backfill_lets_pass_only_who_does_not_delay_the_first_in_line():
    long = running("long", 3, 100.0)
    head = State(Job("head", 1.0, 50.0, 4, LINEAR))
    short, slow = State(Job("short", 2.0, 90.0, 1, LINEAR)), State(Job("slow", 2.0, 200.0, 1, LINEAR))
    assert policies.easy_backfill([long, head, slow], 4, 0.0) == {"long": 3}
    assert policies.easy_backfill([long, head, slow, short], 4, 0.0) == {"long": 3, "short": 1}
    spare = policies.easy_backfill([long, head, slow], 5, 0.0)
    assert spare == {"long": 3, "slow": 1}, "beside the first there is room for it"


def test_those_who_had_little_go_first():
    old, new = running("old", 1, 1e6), State(Job("new", 9.0, 60.0, 1, LINEAR))
    old.attained = policies.LAS_THRESHOLD - 1
    assert policies.least_attained_service([old, new], 1, 9.0) == {"old": 1}
    old.attained += 1
    assert policies.least_attained_service([old, new], 1, 9.0) == {"new": 1}


def test_equal_shares_use_all_and_none_gets_more_than_it_can_use():
    jobs = [State(Job(name, 0.0, 9.0, 1, (1.0,) * most)) for name, most in (("a", 1), ("b", 8), ("c", 8))]
    assert sorted(policies.equal_share(jobs, 8, 0.0).items()) == [("a", 1), ("b", 3), ("c", 4)]
    assert len(policies.equal_share(jobs, 2, 0.0)) == 2


def test_a_change_costs_its_pause_and_a_first_start_does_not():
    job = Job("a", 0.0, 100.0, 1, LINEAR)
    given_out = iter([1, 2])

    def policy(jobs: list[State], devices: int, now: float) -> dict[str, int]:
        return {"a": next(given_out, 2)}

    found = simulate([job], 2, policy, pause=7.0, step=1.0, look=40.0)  # type: ignore[arg-type]  # a stand-in
    assert found.finish == pytest.approx((40.0 + 7.0 + 30.0,))
    assert found.changes == 2


def test_a_job_larger_than_the_machine_is_refused():
    with pytest.raises(ConfigError, match="big: devices: got 4; expected at most the 2"):
        simulate([Job("big", 0.0, 1.0, 4, LINEAR)], 2, policies.fifo)


def test_figures_of_an_outcome():
    found = Outcome((10.0, 30.0), 30.0, 1.0, None, 0)
    assert (found.mean, found.percentile(0.99), found.percentile(0.5)) == (20.0, 30.0, 10.0)
    assert found.against(Outcome((10.0, 10.0), 30.0, 1.0, None, 0)) == (1.0, 3.0)
    assert percentile([3.0, 1.0, 2.0], 0.0) == 1.0
    assert jain([2.0, 2.0, 2.0]) == 1.0


def test_drawn_jobs_are_like_the_published_trace():
    jobs = philly_like(6000, 8.0, seed=1, longest_device_hours=1e9)
    assert statistics.mean(job.devices == 1 for job in jobs) == pytest.approx(0.93, abs=0.02)
    several = sum(job.duration * job.devices for job in jobs if job.devices > 1)
    assert several / sum(job.duration * job.devices for job in jobs) == pytest.approx(0.82, abs=0.12)
    ordered = sorted(job.duration for job in jobs)
    assert ordered[3000] == pytest.approx(1456.0, rel=0.25)  # of those of 60 s or more
    assert ordered[5400] == pytest.approx(12793.0, rel=0.2)


def test_a_trace_is_read_with_dates_or_seconds_and_the_first_job_is_at_zero(tmp_path: Path):
    file = tmp_path / "a.csv"
    file.write_text("timestamp,duration,num_gpus\n2017-10-09 07:01:55,66.0,1\n2017-10-09 07:00:55,10,2\n")
    first, second = read_trace(file)
    assert (first.arrival, first.devices, second.arrival, second.duration) == (0.0, 2, 60.0, 66.0)
    file.write_text("arrival,duration,devices,curve\n5,10,1,hardly\n")
    assert read_trace(file)[0].curve == traces.CURVES["hardly"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arrival,duration,devices\n", "no job in it"),
        ("arrival,duration\n1,2\n", "line 2: no devices or num_gpus; its columns are arrival, duration"),
        ("arrival,duration,devices\n1,long,1\n", "line 2: duration: got 'long'; expected a number"),
        ("arrival,duration,devices\n1,nan,1\n", "line 2: duration: got 'nan'"),
        ("arrival,duration,devices\nsoon,2,1\n", "line 2: arrival: got 'soon'; expected seconds or a date"),
        ("arrival,duration,devices\n1,0,1\n", "expected above 0"),
        ("arrival,duration,devices,curve\n1,2,1,odd\n", "curve: got 'odd'; expected one of"),
    ],
)
def test_a_trace_that_cannot_be_used_names_line_and_field(tmp_path: Path, text: str, said: str):
    file = tmp_path / "a.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        read_trace(file)
    with pytest.raises(DataError, match="can't be read"):
        read_trace(tmp_path / "nowhere.csv")


def test_the_pool_is_ahead_of_fixed_devices_and_keeps_busy_what_others_wait_for():
    jobs = philly_like(160, 8.0, seed=3, longest_device_hours=20.0)
    pool, las, equal = (
        simulate(jobs, 64, policy)
        for policy in (policies.pool(30.0), policies.least_attained_service, policies.equal_share)
    )
    assert pool.mean < 0.6 * las.mean
    assert pool.utilisation_waiting is None or pool.utilisation_waiting >= 0.95
    assert max(pool.against(equal)) < 3


def test_a_class_ends_about_as_early_as_with_the_best_fixed_order():
    curve = amdahl(0.97, 0.0005)
    jobs = [Job(f"{k:02d}", 0.3 * k, 60.0 * (1 + k % 7), 1, curve) for k in range(30)]
    pooled = simulate(jobs, 64, policies.pool(0.5), pause=0.5).makespan
    best = math.inf
    for number in (1, 2, 3, 4, 8, 16, 64):
        fixed = [
            Job(f"{place:02d}", 0.001 * place, job.work / job.speed(number), number, curve)
            for place, job in enumerate(sorted(jobs, key=lambda job: -job.work))
        ]
        best = min(best, simulate(fixed, 64, policies.fifo, pause=0.0).makespan)
    assert pooled <= 1.1 * best
