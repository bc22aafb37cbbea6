import contextvars
import threading

import pytest

from lepton_kit.panels.background import Background
from lepton_kit.panels.pump import CPU_SHARE, SLOWEST_SECONDS, TRIES, Debounced, Pump, pause_after

WAIT = 10


def test_pump_ticks_until_it_is_told_to_end():
    answers = iter([True, True, False])
    pump = Pump(lambda: next(answers), fastest=0.001)
    pump.start()
    pump._thread.join(WAIT)
    assert pump.ticks == 3
    assert not pump.running


def test_pump_runs_in_the_context_that_made_it():
    mark = contextvars.ContextVar("mark", default="bare thread")
    mark.set("cell")
    seen = []
    pump = Pump(lambda: seen.append(mark.get()), fastest=0.001)
    mark.set("later")
    pump.start()
    pump._thread.join(WAIT)
    assert seen == ["cell"]


def test_pump_keeps_the_failure_that_ended_it(caplog):
    tried = []

    def tick():
        tried.append(1)
        raise OSError("disk gone")

    pump = Pump(tick, fastest=0.001)
    pump.start()
    pump._thread.join(WAIT)
    assert str(pump.failure) == "disk gone"
    assert caplog.text.count("a panel stopped following its run: disk gone") == 1
    assert len(tried) == TRIES


def test_pump_outlives_failures_that_pass(caplog):
    answers = iter([True, *(TRIES - 1) * [OSError("busy")], True, *(TRIES - 1) * [OSError("busy")], False])

    def tick():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    pump = Pump(tick, fastest=0.001)
    pump.start()
    pump._thread.join(WAIT)
    assert next(answers, None) is None
    assert pump.failure is None
    assert caplog.text == ""


def test_pump_stops_and_starts_again():
    ticked = threading.Event()
    pump = Pump(lambda: ticked.set() or True, fastest=0.001)
    for _ in range(2):
        ticked.clear()
        pump.start()
        assert ticked.wait(WAIT)
        pump.stop()
        assert not pump.running


def test_dear_ticks_come_seldom():
    assert pause_after(0.0, fastest=0.5) == 0.5
    assert 0.06 / pause_after(0.06, fastest=0.5) == pytest.approx(CPU_SHARE)
    assert pause_after(100.0, fastest=0.5) == SLOWEST_SECONDS


def test_debounced_calls_once_with_the_last_value():
    calls = []
    later = Debounced(calls.append, seconds=60)
    later(1)
    later(2)
    assert later.waiting
    later.flush()
    later.flush()
    assert calls == [2]
    assert not later.waiting
    later(3)
    later.cancel()
    later.flush()
    assert calls == [2]


def test_debounced_calls_by_itself():
    called = threading.Event()
    Debounced(lambda _: called.set(), seconds=0.001)(1)
    assert called.wait(WAIT)


def test_background_shows_only_the_newest_request():
    gate, shown = threading.Event(), []

    def work(request):
        if request == "old":
            gate.wait(WAIT)
        return request

    job = Background(work, lambda result, failure: shown.append((result, failure)))
    job.start("old")
    old = job._thread
    job.start("new")
    assert job.result(WAIT) == "new"
    gate.set()
    old.join(WAIT)
    job._thread.join(WAIT)
    assert shown == [("new", None)]


def test_background_raises_what_the_work_raised():
    shown = []
    job = Background(lambda _: 1 / 0, lambda result, failure: shown.append(failure))
    job.start()
    with pytest.raises(ZeroDivisionError):
        job.result(WAIT)
    job._thread.join(WAIT)
    assert isinstance(shown[0], ZeroDivisionError)


def test_background_tells_that_it_is_still_at_work():
    gate = threading.Event()
    job = Background(lambda _: gate.wait(WAIT), lambda result, failure: None)
    job.start()
    assert job.busy
    with pytest.raises(TimeoutError):
        job.result(0.001)
    gate.set()
    job.join()
