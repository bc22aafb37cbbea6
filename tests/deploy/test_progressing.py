"""The line of a long prediction: quiet at first, in pipes and when told so."""

from __future__ import annotations

from lepton_kit.deploy.progressing import Line


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_short_prediction_shows_nothing_and_a_long_one_a_line_that_goes_away(capsys):
    clock = Clock()
    with Line(100, True, clock) as line:
        clock.now = 0.5
        line.add(10)
        assert capsys.readouterr().err == ""
        clock.now = 2.0
        line.add(10)
        assert "predicted 20 of 100 inputs, 10/s, 8 s left" in capsys.readouterr().err
        clock.now = 2.1
        line.add(10)
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err.endswith("\r")


def test_pipes_and_false_stay_quiet(capsys):
    for shown in (None, False):
        clock = Clock()
        with Line(None, shown, clock) as line:
            clock.now = 5.0
            line.add(3)
            line.say("words")
    assert capsys.readouterr().err == ""
