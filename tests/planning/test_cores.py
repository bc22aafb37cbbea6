"""Cores for pinned workers: never twice, never held ones, physical ones first, near each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.machine.topology import Core
from lepton_kit.planning.cores import choose_cores


@st.composite
def machines(draw: st.DrawFn) -> list[Core]:
    nodes, each, threads = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 2))
    total = nodes * each
    usable = draw(st.sets(st.integers(0, total * threads - 1), min_size=1))
    return [
        Core(
            n,
            tuple(n % total + k * total for k in range(threads)),
            (n % total) // each,
            0,
            usable=n in usable,
        )
        for n in range(total * threads)
    ]


@given(machines(), st.sets(st.integers(0, 23)), st.integers(1, 5), st.integers(1, 4))
def test_cores_are_given_once_of_those_that_are_free(
    machine: list[Core], held: set[int], workers: int, each: int
):
    free = {core.number for core in machine if core.usable} - held
    found = choose_cores(machine, held, workers, each)
    assert (found is None) == (len(free) < workers * each)
    if found is None:
        return
    given_out = [core for cores in found for core in cores]
    assert [len(cores) for cores in found] == [each] * workers
    assert len(set(given_out)) == len(given_out)
    assert set(given_out) <= free
    by_number = {core.number: core for core in machine}
    untouched = {core.siblings for core in machine if core.number in free and not set(core.siblings) & held}
    if len(untouched) >= workers * each:
        assert len({by_number[one].siblings for one in given_out}) == len(given_out), "a physical core each"
        assert {by_number[one].siblings for one in given_out} <= untouched


@given(machines(), st.integers(1, 4))
def test_a_worker_alone_stays_in_one_node_where_one_has_room(machine: list[Core], each: int):
    found = choose_cores(machine, (), 1, each)
    free = [core for core in machine if core.usable]
    whole = {core.siblings: core.node for core in free}
    pool = list(whole.values()) if len(whole) >= each else [core.node for core in free]
    if found is not None and max(pool.count(node) for node in set(pool)) >= each:
        nodes = {core.node for core in machine if core.number in found[0]}
        assert len(nodes) == 1


def test_workers_spread_over_the_nodes():
    machine = [Core(n, (n,), n // 4) for n in range(8)]
    assert choose_cores(machine, (), 2, 2) == [(0, 1), (4, 5)]
    assert choose_cores(machine, {0}, 2, 2) == [(4, 5), (1, 2)]


def test_the_other_thread_of_a_held_core_comes_last():
    machine = [Core(n, (n % 3, n % 3 + 3)) for n in range(6)]
    assert choose_cores(machine, {0}, 2, 1) == [(1,), (2,)]
    assert choose_cores(machine, {0}, 2, 2) == [(1, 4), (2, 5)]
    assert choose_cores(machine, {0}, 1, 5) == [(1, 2, 3, 4, 5)]
    assert choose_cores(machine, {0, 1}, 1, 2) == [(2, 5)]  # as many are free beside the held ones
    assert choose_cores(machine, {0, 1}, 2, 2) == [(2, 5), (3, 4)]
