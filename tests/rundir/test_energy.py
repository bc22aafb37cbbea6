"""What a log says of energy: each report's time, what was trained meanwhile, and why not all of it was measured."""

from __future__ import annotations

from typing import Any

from lepton_kit.rundir.energy import Taken, Took


def told(time: float, joules: float | None, **more: Any) -> dict[str, Any]:
    return {"time": time, "joules": joules, "why": None, **more}


def test_a_report_has_its_time_and_its_interval():
    taken = Taken()
    taken.feed(
        told(
            100.0,
            8.0,
            low=6.0,
            high=9.0,
            idle=2.0,
            seconds=4.0,
            origin="estimated",
            of=["processors", "GPU 1"],
        )
    )
    taken.feed(told(105.0, 1.0, of=["GPU 2", "processors"], host="box", why="once"))
    assert taken.rows == [
        Took(96.0, 100.0, 8.0, 6.0, 9.0, 2.0, False),
        Took(105.0, 105.0, 1.0, 1.0, 1.0, 0.0, True),
    ]
    assert (list(taken.sources), list(taken.hosts)) == (["processors", "GPU 1", "GPU 2"], ["box"])
    assert taken.summary() == {"energy_joules": 9.0, "energy_origin": "estimated", "no_energy": "once"}


def test_the_last_reason_stays_and_a_report_without_a_figure_counts_nothing():
    taken = Taken()
    assert taken.summary() == {"energy_joules": None, "energy_origin": None, "no_energy": None}
    for why in ("first", "second", None):
        taken.feed(told(1.0, None, why=why, host="box", of=["x"]))
    assert (taken.rows, taken.why, taken.joules, taken.origin) == ([], "second", None, None)
    assert not taken.hosts
    taken.feed(told(2.0, 0.0))
    assert (taken.joules, taken.origin) == (0.0, "measured")


def test_reports_of_steps_that_follow_each_other_are_one_time_of_training():
    taken = Taken()
    for begin, end, samples in [(0.0, 2.0, 5), (2.5, 4.0, 6), (4.99, 6.0, 7), (7.0, 8.0, 8), (7.5, 8.5, 9)]:
        taken.trained(begin, end, samples)
    assert taken.training == [(0.0, 6.0), (7.0, 8.5)]
    assert taken.samples == 35
    taken.trained(20.0, 19.0, 0)  # a clock that was set back
    assert taken.training[-1] == (20.0, 20.0)


def test_of_an_epoch_that_was_repeated_the_last_time_counts():
    taken = Taken()
    for epoch, time, seconds in [(0, 10.0, 4.0), (1, 20.0, 3), (0, 30.0, 5.0), (2, 40.0, None)]:
        taken.ended({"epoch": epoch, "time": time, "seconds": seconds})
    assert taken.epochs == {0: (25.0, 30.0), 1: (17.0, 20.0)}
