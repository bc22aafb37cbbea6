import numpy as np
import pytest

from lepton_kit.panels.plots import Plot, PlotCurve, Plots
from lepton_kit.panels.presence import (
    DRAWN_SECONDS,
    PROBE_SECONDS,
    UNHEARD_SECONDS,
    Presence,
    Send,
    worth_sending,
)


@pytest.fixture
def plots(monkeypatch):
    made = Plots([Plot("a", "A", (PlotCurve("one", "first", "#000"), PlotCurve("two", "second", "#111")))])
    made.now = 0.0
    made.presence._clock = lambda: made.now
    made.presence.hear()
    made.sent = []
    monkeypatch.setattr(made.widget, "send_state", lambda key=None: made.sent.append(set(key or ())))
    yield made
    made.close()


def line(*values):
    return np.arange(len(values)), np.array(values, float)


def test_only_what_changed_goes_out_and_in_one_message(plots):
    assert plots.show({"one": line(1, 2), "two": line(3)})
    assert not plots.show({"one": line(1, 2), "two": line(3)})
    assert plots.show({"one": line(1, 2), "two": line(3, 4)}, limits={"a": (0.0, 1.0, 2)})
    assert plots.widget.version == 2
    assert plots.sent == [
        {"curve_one", "curve_two", "version"}, {"curve_two", "limits", "version"},
    ]  # fmt: skip
    assert list(plots.curve("two")[1]) == [3, 4]


def test_a_page_that_arrives_or_has_missed_a_version_gets_everything(plots):
    plots.show({"one": line(1)})
    arrived = []
    plots.on_arrival = lambda: arrived.append(True)
    plots.sent.clear()
    plots.hear({"kind": "missed", "version": 1})
    assert (plots.sent.count(set()), arrived) == (1, [])
    assert plots.widget.whole == plots.widget.version == 2
    plots.hear({"kind": "arrived", "version": 1})
    assert (plots.sent.count(set()), arrived) == (2, [True])
    assert plots.widget.whole == plots.widget.version == 3
    plots.show({"one": line(1, 2)})
    assert (plots.widget.whole, plots.widget.version) == (3, 4)


def test_a_page_that_did_not_draw_in_time_gets_everything(plots):
    plots.show({"one": line(1)})
    plots.show({"one": line(1, 2)})
    plots.sent.clear()
    plots.now = DRAWN_SECONDS / 2
    plots.hear({"kind": "drawn", "version": 1})
    assert plots.sent == []  # it may be drawing now
    plots.now = DRAWN_SECONDS
    plots.hear({"kind": "drawn", "version": 2})
    assert plots.sent == []
    plots.hear({"kind": "drawn", "version": 1})
    assert plots.sent.count(set()) == 1


@pytest.mark.parametrize(
    "content", [{}, {"kind": "drawn"}, {"kind": "drawn", "version": "x"}, {"kind": 3, "version": None}]
)
def test_words_that_make_no_sense_harm_nothing(plots, content):
    plots.show({"one": line(1)})
    plots.sent.clear()
    plots.hear(content)
    assert plots.sent == []


def test_messages_stop_when_no_page_answers_but_for_a_whole_one_now_and_then():
    assert worth_sending(now=1000, heard=1000 - UNHEARD_SECONDS, sent=1000) is Send.CHANGES
    assert worth_sending(now=1000, heard=999 - UNHEARD_SECONDS, sent=1000) is Send.NOTHING
    assert worth_sending(now=1000, heard=0, sent=1000 - PROBE_SECONDS) is Send.EVERYTHING


def test_presence_plans_by_its_clock():
    now = [0.0]
    presence = Presence(clock=lambda: now[0])
    presence.sent(1)
    assert presence.plan() is Send.CHANGES
    now[0] = UNHEARD_SECONDS + 1
    assert presence.plan() is Send.EVERYTHING
    presence.sent(2)
    assert presence.plan() is Send.NOTHING
    presence.hear()
    assert presence.plan() is Send.CHANGES


def test_an_unheard_page_still_gets_everything_now_and_then(plots):
    plots.show({"one": line(1)})
    plots.now = UNHEARD_SECONDS + 1
    assert plots.plan() is Send.EVERYTHING
    plots.send_everything()
    assert plots.plan() is Send.NOTHING
