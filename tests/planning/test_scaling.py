"""The scaling law, and its costs from measured steps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.errors import ConfigError
from lepton_kit.planning.estimates import Estimate
from lepton_kit.planning.estimating import PRIORS, QUANTILE, Law, Row, fit
from lepton_kit.planning.scaling import CYCLE_SECONDS, LOOPBACK, NAMES, Link, Setting, parts, step_seconds

COSTS = {name: median for name, (median, _) in PRIORS.items()} | {"fixed": 2e-3, "sample": 4e-5}
WEIGHTS = 300_000
positive = st.floats(0.2, 5.0)
worlds = st.builds(
    lambda *factors: {n: COSTS[n] * f for n, f in zip(NAMES, factors, strict=True)}, *[positive] * len(NAMES)
)


def seconds(setting: Setting, costs=COSTS) -> float:
    return float(step_seconds(costs, setting, WEIGHTS))


def told(setting: Setting, costs, noise=1.0) -> Row:
    """What a run would have measured of a step."""
    found = {name: float(value) for name, value in parts(costs, setting, WEIGHTS).items()}
    rank = {name: found[name] for name in ("data", "compute", "wait")}
    return Row(
        setting, sum(found.values()) * noise, rank | {"communicate": found["communicate"] + found["between"]}
    )


def measured(costs, places=2, noise=lambda: 1.0) -> list[Row]:
    return [
        told(Setting(workers, batch, places), costs, noise()) for batch in (32, 128) for workers in (1, 2)
    ]


def test_links_are_read_and_told():
    assert Link.read("100mbit/5") == Link(1e8, 5e-3)
    assert str(Link.read("2.5 Gbit/s / 0.2 ms")) == "2.5gbit/0.2"
    assert Link.read(LOOPBACK) is LOOPBACK
    for wrong in ("fast", "1gbit", "0gbit/1", "1g/1", "1.2.3gbit/1", None):
        with pytest.raises(ConfigError, match="link"):
            Link.read(wrong)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("workers", 0),
        ("workers", 9),
        ("batch", 0),
        ("places", 0),
        ("hosts", 0),
        ("hosts", 3),
        ("workers", 1.5),
        ("batch", True),
        ("batch", "8"),
    ],
)
def test_a_setting_that_can_not_be_names_its_field(field, given):
    whole = {"workers": 2, "batch": 8, "places": 2} | {field: given}
    with pytest.raises(ConfigError, match=field):
        Setting(**whole)


@given(worlds, st.integers(1, 12), st.integers(16, 512), st.integers(1, 8), st.integers(1, 3), st.booleans())
@settings(max_examples=60)
def test_a_step_is_positive_and_as_long_as_its_parts(costs, workers, batch, places, hosts, flat):
    setting = Setting(workers, batch, places, min(hosts, workers), Link(1e9, 1e-3), flat=flat)
    found = parts(costs, setting, WEIGHTS)
    assert all(float(value) >= 0 for value in found.values())
    assert seconds(setting, costs) == pytest.approx(float(sum(found.values())))


@given(worlds, st.integers(2, 12), st.integers(16, 512), st.integers(1, 8))
@settings(max_examples=60)
def test_what_makes_a_step_harder_makes_it_longer(costs, workers, batch, places):
    here = Setting(workers, batch, places, 2, Link(1e9, 1e-3))
    base = seconds(here, costs)
    slower = {"link": Link(1e8, 1e-3)}, {"link": Link(1e9, 1e-2)}, {"batch": batch + workers}
    for change in slower:
        assert seconds(Setting(**(vars(here) | change)), costs) >= base
    assert seconds(Setting(**(vars(here) | {"together": True})), costs) >= base
    near = {"link": Link(1e9, 0.0)}
    assert seconds(Setting(**(vars(here) | near | {"wire_bytes": 2})), costs) <= seconds(
        Setting(**(vars(here) | near)), costs
    )
    for name in NAMES:  # dearer agreements make blocks longer, which saves a little of what a block costs
        less = 0.01 * base if name in ("call", "messages") else 1e-12
        assert seconds(here, costs | {name: costs[name] * 1.5}) >= base - less


@given(worlds, st.integers(3, 12), st.integers(1, 4))
@settings(max_examples=60)
def test_workers_that_take_turns_last_at_least_as_long_as_on_cores_that_share_all_evenly(
    costs, workers, places
):
    crowded, alone = Setting(workers, 240, places), Setting(workers, 240, workers)
    costs = costs | {"contention": 0.0}
    found, ideal = parts(costs, crowded, WEIGHTS), parts(costs, alone, WEIGHTS)
    own = sum(float(ideal[name]) for name in ("data", "compute", "communicate")) - costs["meeting"]
    assert own + float(found["turns"]) >= own * max(1, workers / places) - 1e-12
    sharing = parts(costs | {"queueing": 0.0}, crowded, WEIGHTS)
    assert own + float(sharing["turns"]) == pytest.approx(own * max(1, workers / places))


def test_the_parts_of_a_step_are_those_that_a_hand_reckons():
    """11 workers on 3 hosts of 2 cores: 4 on the fullest, 2 of them beyond its cores; 10 samples of 104 at most; 4 · 1,000 bytes."""
    costs = dict.fromkeys(NAMES, 0.0) | {
        "fixed": 2e-3, "sample": 1e-4, "contention": 0.5, "reading": 1e-5, "skew": 0.1, "meeting": 1e-4, "byte": 1e-8,
        "queueing": 0.5, "block": 5e-3, "call": 4e-3, "wire": 1e-7, "messages": 1.0, "polling": 1.2,
    }  # fmt: skip
    setting = Setting(11, 104, 2, 3, Link(8e5, 2e-3), longest_block=10)
    found = {name: float(value) for name, value in parts(costs, setting, 1000).items()}
    polls = CYCLE_SECONDS / 6e-3  # a look takes three latencies
    compute, data = 3e-3 * (1.5 + 1.2 * polls), 1e-4
    copying = 4e-5 * (1 + 4 + 1)
    assert found["compute"] == pytest.approx(compute)
    assert found["data"] == pytest.approx(data)
    assert found["communicate"] == pytest.approx(2e-4 + copying)
    fullest = (
        2 + math.sqrt(0.5) * 0.5895
    )  # two at one core by chance: a core has 1 more, by a deviation of √½
    more = 0.5 * (
        fullest - 2
    )  # both cores compute for 2 - more turns, then the fullest for twice that, with no neighbour
    crowded = (2 - more) * compute + 2 * more * 3e-3 * (1 + 1.2 * polls) + (2 + more) * (data + copying)
    assert found["turns"] == pytest.approx(crowded - compute - data - copying, rel=1e-3)
    assert found["wait"] == pytest.approx(
        compute * 0.1 * 1.58644, rel=0.01
    )  # expected maximum of 11, Harter (1961)
    assert found["between"] == pytest.approx(4e-3 + 12 * 2e-3 + 4 / 3 * 4000 * (1e-7 + 1e-5))
    agreement = 4e-3 + 12 * 2e-3
    step = sum(found.values()) - found["other"]
    length = min(1.0, 40 * agreement)
    assert found["other"] == pytest.approx((5e-3 + agreement) / min(10, length / step))


def test_a_flat_ring_of_horovod_has_no_shared_memory_and_passes_bytes_from_rank_to_rank():
    """4 workers on 2 cores of one host; then on two hosts of 2 cores, over a link. 4 · 1,000 bytes."""
    costs = dict.fromkeys(NAMES, 0.0) | {
        "fixed": 2e-3, "meeting": 1e-4, "byte": 1e-8, "block": 5e-3, "call": 4e-3, "wire": 1e-7, "messages": 1.0,
        "polling": 1.2,
    }  # fmt: skip
    here = Setting(4, 64, 2, longest_block=10, flat=True)
    found = {name: float(value) for name, value in parts(costs, here, 1000).items()}
    passing = 1.5 * 4000 * 1e-7
    assert found["compute"] == pytest.approx(2e-3 * 2.2), "its loops ask on one host, too"
    assert found["communicate"] == pytest.approx(4e-3 + passing)
    assert found["between"] == 0
    assert found["turns"] == pytest.approx(found["compute"] + passing), "passing bytes on takes cores"
    assert found["other"] == pytest.approx((5e-3 + 4e-3) / 10), "ranks agree over Horovod"
    apart = Setting(4, 64, 2, 2, Link(8e5, 2e-3), longest_block=10, flat=True)
    found = {name: float(value) for name, value in parts(costs, apart, 1000).items()}
    assert found["communicate"] == 0
    assert found["between"] == pytest.approx(4e-3 + 8 * 2e-3 + passing + 1.5 * 4000 * 8 / 8e5)
    leaders = parts(costs, Setting(4, 64, 2, 2, Link(8e5, 2e-3), longest_block=10), 1000)
    assert found["between"] > float(leaders["between"]), "more bytes than among leaders alone"


def test_a_ring_of_one_costs_nothing_over_horovod():
    flat, own = Setting(1, 64, 2, flat=True), Setting(1, 64, 2)
    assert parts(COSTS, flat, WEIGHTS) == parts(COSTS, own, WEIGHTS)


@pytest.mark.parametrize(
    ("workers", "places", "turns"),
    [(2, 2, 1), (3, 2, 2), (4, 2, 2.417), (2, 1, 2), (7, 1, 7), (17, 16, 2), (5, 4, 2)],
)
def test_a_rank_without_an_idle_core_queues_where_others_may_queue_too(workers, places, turns):
    """One more than cores: the core that it comes to has two. Two more on two cores: both at one of them in half of the cases."""
    costs = dict.fromkeys(NAMES, 0.0) | {"fixed": 1e-2, "queueing": 1.0}
    step = float(sum(parts(costs, Setting(workers, 64, places), 1).values()))
    assert step == pytest.approx(1e-2 * turns, rel=1e-3)


def test_horovod_looks_for_work_less_often_over_a_link_of_long_latency():
    costs = dict.fromkeys(NAMES, 0.0) | {"fixed": 1e-2, "polling": 0.5}
    near, far, one, idle = (
        parts(costs, Setting(4, 64, places, hosts, link), 1)["compute"]
        for places, hosts, link in (
            (2, 2, LOOPBACK),
            (2, 2, Link(1e9, 5e-3)),
            (2, 1, LOOPBACK),
            (3, 2, LOOPBACK),
        )
    )
    assert near == pytest.approx(1.5e-2)
    assert far == pytest.approx(1e-2 * (1 + 0.5 / 30))
    assert one == idle == pytest.approx(1e-2)  # among ranks of one host, or on a core that they leave idle


def test_float16_between_hosts_saves_what_a_benchmark_found():
    """The dense network of docs/performance.md on two hosts took 237 and 147 ms a step over 100 Mbit/s with 5 ms, and 35.3 and
    26.6 ms over 1 Gbit/s with 0.5 ms."""
    costs = COSTS | {"polling": 0.0, "block": 0.0}
    for link, saved in ((Link(1e8, 5e-3), 0.090), (Link(1e9, 5e-4), 0.0087)):
        whole, half = (
            parts(costs, Setting(4, 128, 2, 2, link, True, size), 669_706)["between"] for size in (4, 2)
        )
        assert whole - half == pytest.approx(saved, rel=0.2)


def test_a_ring_passes_its_share_of_the_bytes():
    costs = dict.fromkeys(NAMES, 0.0)
    step = [seconds(Setting(hosts, 64, 1, hosts, Link(8e6, 0.0)), costs) for hosts in (1, 2, 4)]
    assert step[0] == 0
    assert step[1] == pytest.approx(4 * WEIGHTS / 1e6)
    assert step[2] == pytest.approx(1.5 * step[1])


@given(worlds)
@settings(max_examples=25)
def test_a_law_is_recovered_from_its_own_steps(costs):
    law = fit(measured(costs), WEIGHTS)
    for batch in (48, 64, 96):
        for workers in (1, 2):
            setting = Setting(workers, batch, 2)
            assert law.step(setting).value == pytest.approx(seconds(setting, costs), rel=0.05)


@given(worlds, st.integers(3, 4), st.sampled_from([48, 64, 128, 192]))
@settings(max_examples=40)
def test_bounds_stand_around_their_value(costs, workers, batch):
    law = fit(measured(costs), WEIGHTS)
    found = law.step(Setting(workers, batch, 2))
    assert 0 < found.low < found.value < found.high < math.inf
    wider = law.step(Setting(workers, batch, 2, 2, Link(1e8, 5e-3), together=True))
    assert wider.low < wider.value < wider.high
    assert law.ratio(Setting(workers, batch, 2), Setting(workers, batch, 2)).value == pytest.approx(1.0)


def test_intervals_hold_in_nine_of_ten_cases():
    generator = np.random.default_rng(1)
    held = tried = 0
    for _ in range(40):
        costs = {
            name: COSTS[name] * math.exp((PRIORS.get(name, (0, 0.6))[1]) * generator.standard_normal())
            for name in NAMES
        }
        law = fit(measured(costs, noise=lambda: math.exp(0.03 * generator.standard_normal())), WEIGHTS)
        for setting in (
            Setting(3, 128, 2),
            Setting(4, 64, 2),
            Setting(2, 96, 2),
            Setting(4, 64, 2, 2, Link(1e8, 2e-3), True),
        ):
            found, truth = law.step(setting), seconds(setting, costs)
            held, tried = held + (found.low <= truth <= found.high), tried + 1
    assert held / tried >= 0.85


def test_one_number_of_workers_is_told_with_wider_bounds_than_two():
    rows = measured(COSTS)
    one, two = (fit(some, WEIGHTS).step(Setting(4, 128, 2)) for some in (rows[:1], rows))
    assert one.high / one.low > two.high / two.low


def test_bounds_grow_with_the_distance_from_what_was_measured():
    law = fit(measured(COSTS), WEIGHTS)
    near, crowded, apart = Setting(2, 80, 2), Setting(4, 128, 2), Setting(4, 128, 2, 2, Link(1e9, 5e-4))
    assert law.error(near) < law.error(crowded) < law.error(apart)
    assert law.error(Setting(16, 128, 16)) > law.error(Setting(4, 128, 16)) > law.error(near)
    with_all = fit([*measured(COSTS), told(crowded, COSTS), told(apart, COSTS)], WEIGHTS)
    assert with_all.error(crowded) == pytest.approx(law.error(near), abs=0.005)
    assert with_all.error(apart) == pytest.approx(law.error(near), abs=0.005)


def test_a_ratio_is_surer_than_its_steps_and_sure_only_of_a_setting_by_itself():
    law = fit(measured(COSTS), WEIGHTS)
    two, four = Setting(2, 128, 2), Setting(4, 128, 2)
    ratio = law.ratio(two, four)
    assert law.ratio(four, four).low == law.ratio(four, four).high == 1.0
    assert 1.05 < ratio.high / ratio.low < law.step(four).high / law.step(four).low * 1.05
    away = Setting(2, 128, 2, 2, Link(1e9, 5e-4))
    sure = Law(law.likeliest, 1e-9 * law.covariance, law.parameters, law.scatter, law.measured)
    apart = sure.ratio(two, away)
    own = math.sqrt(law.error(away) ** 2 - law.error(two) ** 2)  # what the two have not in common
    assert apart.high / apart.low > math.exp(2 * QUANTILE * own)
    assert apart.high / apart.low < sure.step(away).high / sure.step(away).low


def test_what_scatters_makes_bounds_wider():
    calm = fit(measured(COSTS), WEIGHTS)
    noise = iter([1.3, 0.8, 0.75, 1.35])
    wild = fit(measured(COSTS, noise=lambda: next(noise)), WEIGHTS)
    setting = Setting(2, 96, 2)
    assert (
        wild.step(setting).high / wild.step(setting).low
        > 1.2 * calm.step(setting).high / calm.step(setting).low
    )


def test_without_a_measured_step_there_is_no_law():
    with pytest.raises(ConfigError, match="rows"):
        fit([Row(Setting(1, 8, 1), 0.0, {})], WEIGHTS)


def test_the_inverse_of_seconds_is_a_rate():
    assert Estimate(2.0, 1.0, 4.0).inverse.times(100) == Estimate(50.0, 25.0, 100.0)
