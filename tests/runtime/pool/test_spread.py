"""Which hosts a run of a pool stands on: what it has, few hosts, and never a slot of another's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.hosts import HostSpec
from lepton_kit.runtime.pool.spread import group_of, shares, spread, units_of
from tests.configs import any_config

counts = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 4), max_size=5)


@pytest.mark.parametrize(
    ("workers", "part"),
    [
        ({"count": "auto"}, True),
        ({"count": 2}, False),
        ({"count": "auto", "hosts": ["a:2", "localhost"]}, True),
        ({"count": 2, "hosts": ["a:2"]}, False),
        ({"count": "auto", "hosts": ["slurm"]}, False),
        ({"count": "auto", "max_workers": 2, "spark": {"master": "local[2]"}}, False),
    ],
)
def test_runs_that_take_what_is_free_share_it_where_no_scheduler_does(workers: dict[str, Any], part: bool):
    assert shares(any_config(workers=workers)) is part


def test_the_same_set_has_one_name_and_other_slots_or_devices_another():
    names = ["gpu-box:2", "localhost:1"]
    one, other = ([HostSpec.parse(name) for name in given] for given in (names, names[::-1]))
    assert group_of(one) == group_of(other) == "gpu-box:2, localhost:1"
    assert group_of([HostSpec.parse("gpu-box:3"), one[1]]) != group_of(one)
    assert group_of([HostSpec(name="gpu-box", slots=2, device="gpu"), one[1]]) != group_of(one)


def test_each_device_of_a_host_is_a_slot_of_its_own():
    assert units_of([HostSpec(name="box", slots=2, device="gpu"), HostSpec.parse("b:2")]) == {
        "box/0": 1, "box/1": 1, "b": 2}  # fmt: skip
    assert spread(1, {}, [{"box/0": 1}], {"box/0": 1, "box/1": 1}) == {"box/1": 1}


def test_a_run_grows_on_its_own_host_first_then_where_most_is_free():
    assert spread(2, {"b": 1}, [], {"a": 4, "b": 2, "c": 3}) == {"b": 2}
    assert spread(3, {"b": 1}, [], {"a": 4, "b": 2, "c": 3}) == {"b": 2, "a": 1}
    assert spread(1, {"a": 2}, [], {"a": 4}) == {"a": 2}, "who has too many gives them back itself"


@given(st.integers(0, 12), counts, st.lists(counts, max_size=3), counts)
def test_no_slot_has_two_runs_and_as_many_are_found_as_there_are(
    workers: int, own: dict[str, int], others: list[dict[str, int]], there: dict[str, int]
):
    found = spread(workers, own, others, there)
    free = {name: max(0, n - sum(one.get(name, 0) for one in (own, *others))) for name, n in there.items()}
    for name, n in found.items():
        assert own.get(name, 0) <= n <= own.get(name, 0) + free.get(name, 0)
    assert sum(found.values()) == max(sum(own.values()), min(workers, sum(own.values()) + sum(free.values())))
