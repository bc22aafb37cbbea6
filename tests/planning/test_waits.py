"""How long those in line are told to wait: what holds then, by the rules that share out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_kit.planning.allocation import Capacity, Request, allocate


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[Request], Request, Capacity]:
    """Runs with workers that may give way now, later or never, and one that is new; nothing was measured."""
    running = []
    for number in range(draw(st.integers(1, 5))):
        least = draw(st.integers(1, 3))
        running.append(
            Request(
                f"r{number}",
                least=least,
                most=least + draw(st.integers(0, 2)),
                weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
                priority=draw(st.integers(-2, 2)),
                held=least,
                worker_bytes=draw(st.integers(0, 3)),
                run_bytes=draw(st.integers(0, 2)),
                suspendable=draw(st.booleans()),
                keeps_seconds=draw(st.none() | st.floats(0, 5000)),
            )
        )
    new = Request(
        "new", waited=draw(st.floats(0, 2000)), least=draw(st.integers(1, 5)), priority=draw(st.integers(-1, 1)),
        worker_bytes=draw(st.integers(0, 3)), run_bytes=draw(st.integers(0, 2)),
    )  # fmt: skip
    used = sum(one.bytes_for(one.held) for one in running)
    memory = draw(st.none() | st.integers(0, 6).map(lambda more: used + more))
    return running, new, Capacity(sum(one.held for one in running) + draw(st.integers(0, 3)), memory)


@settings(max_examples=200)
@given(crowds())
def test_who_is_next_has_its_least_once_the_time_is_over_that_it_was_told_and_not_before(crowd):
    running, new, shared = crowd

    def after(seconds: float) -> int:
        then = [
            replace(
                one,
                suspendable=one.suspendable
                or (one.keeps_seconds is not None and one.keeps_seconds <= seconds),
            )
            for one in running
        ]
        return allocate([*then, replace(new, waited=new.waited + seconds)], shared, {})["new"].workers

    found = allocate([*running, new], shared, {})["new"]
    if found.workers:
        return
    if found.wait_seconds is None:
        assert not after(1e12)
        return
    assert after(found.wait_seconds + 1e-3)
    if found.wait_seconds > 1e-3:
        assert not after(found.wait_seconds - 1e-3)


def waits(*requests: Request, workers: int, memory: int | None = None) -> list[float | None]:
    """Of those in line, in its order; who runs was measured to do 100 samples/s with each worker."""
    speeds = {one.run: {n: 100.0 * n for n in range(1, 9)} for one in requests if one.held}
    found = allocate(requests, Capacity(workers, memory), speeds)
    line = sorted((one.before, one.wait_seconds) for one in found.values() if one.before is not None)
    assert [before for before, _ in line] == [*range(len(line))]
    return [wait for _, wait in line]


def ends(run: str, seconds: float, held: int = 1, **more) -> Request:
    """A run that ends after so many seconds, with what it holds."""
    return Request(run, held=held, least=held, left=100.0 * held * seconds, **more)


FIRST, SECOND = {"arrived": 1.0}, {"arrived": 2.0}
WAITS = [
    ("the first to end makes room", [ends("a", 60), ends("b", 20), Request("x")], 2, None, [20]),
    ("room for two only as both have ended", [ends("a", 60), ends("b", 20), Request("x", least=2)], 2, None, [60]),
    ("what is free counts", [ends("a", 60), ends("b", 20), Request("x", least=2)], 3, None, [20]),
    ("a large one that ends has room for two in line",
     [ends("a", 60, 2), Request("x", **FIRST), Request("y", **SECOND)], 2, None, [60, 60]),
    ("who is behind waits until one before it has ended: 40 s are typical on one worker, by Amdahl 21 on two",
     [ends("a", 60), ends("b", 20), Request("x", least=2, **FIRST), Request("y", **SECOND)], 3, None, [20, 41]),
    ("who got its turn ends after as long as is typical",
     [ends("a", 60), Request("x", **FIRST), Request("y", **SECOND)], 1, None, [60, 120]),
    ("memory that is freed",
     [ends("a", 60, worker_bytes=5, run_bytes=1), ends("b", 20, worker_bytes=2),
      Request("x", worker_bytes=4, run_bytes=2)], 3, 9, [60]),
    ("memory that is free already",
     [ends("a", 60, worker_bytes=5), ends("b", 20, worker_bytes=2), Request("x", worker_bytes=4)], 3, 9, [20]),
    ("memory that the first in line takes",
     [ends("a", 60, worker_bytes=5), ends("b", 20, worker_bytes=4), Request("x", worker_bytes=4, **FIRST),
      Request("y", worker_bytes=1, **SECOND)], 4, 9, [20, 60]),
    ("more than the machine has, and all behind",
     [ends("a", 60), Request("x", least=2, **FIRST), Request("y", **SECOND)], 1, None, [None, None]),
    ("more memory than there is",
     [ends("a", 60, worker_bytes=1), Request("x", worker_bytes=10)], 4, 9, [None]),
    ("one that may be suspended ends before its turn is over",
     [ends("a", 60, keeps_seconds=50.0), Request("x")], 1, None, [60]),
    ("one that is less important gives way once it may be suspended",
     [ends("a", 60, keeps_seconds=50.0, priority=-1), Request("x")], 1, None, [50]),
    ("of two that give way both are needed",
     [ends("a", 1e6, keeps_seconds=50.0, priority=-2), ends("b", 1e6, keeps_seconds=70.0, priority=-2),
      Request("x", least=2)], 2, None, [70]),
    ("one that has begun in the place of another keeps it until it ends",
     [ends("a", 1e6, suspendable=False, keeps_seconds=50.0, priority=-1), Request("x", **FIRST),
      Request("y", **SECOND)], 1, None, [50, 50 + 1e6]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("requests", "workers", "memory", "expected"),
    [case[1:] for case in WAITS],
    ids=[case[0] for case in WAITS],
)
def test_waits_that_a_hand_reckons(requests, workers, memory, expected):
    told = waits(*requests, workers=workers, memory=memory)
    assert [wait is None for wait in told] == [wait is None for wait in expected]
    known = [(wait, hand) for wait, hand in zip(told, expected, strict=True) if wait is not None]
    assert [wait for wait, _ in known] == pytest.approx([hand for _, hand in known])
