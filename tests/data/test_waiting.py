"""The line that is shown while data are decoded."""

import io
import sys

from lepton_kit.data.waiting import Waiting, line_of


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told(seconds, stream, total=100):
    """What is written where each call comes at one of these seconds, and each does one sample."""
    clock = iter([0.0, *seconds])
    waiting = Waiting(stream=stream, clock=lambda: next(clock))
    for done in range(1, len(seconds) + 1):
        waiting(done, total)
    return stream.getvalue()


def test_what_is_quick_is_not_told():
    assert told([0.1, 0.5, 4.9], Terminal(), total=3) == ""


def test_a_terminal_shows_one_line_that_changes():
    lines = told([1, 6, 6.1, 8, 8.1], Terminal(), total=5).split("\r")
    assert [line.strip() for line in lines] == [
        "",
        "decoding data: 2 of 5, about 15 s left",
        "decoding data: 4 of 5, about 2 s left",
        "decoding data: 5 of 5, in 8 s",
    ]
    assert lines[-1].endswith("\n")


def test_a_file_gets_few_lines(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    found = told([1, 6, 7, 20, 40], io.StringIO())
    assert found.splitlines() == [
        "decoding data: 2 of 100, about 8 min left",
        "decoding data: 5 of 100, about 15 min left",
    ]


def test_the_time_before_the_first_sample_is_no_pace():
    lines = told([60, 61, 62], Terminal()).split("\r")
    assert [line.strip() for line in lines] == [
        "",
        "decoding data: 2 of 100, about 98 s left",
        "decoding data: 3 of 100, about 97 s left",
    ]


def test_what_ends_where_it_would_first_be_told():
    assert told([6.0], Terminal(), total=1).strip() == "decoding data: 1 of 1, in 6 s"
    assert line_of(0, 10, 0.0) == "0 of 10, about 0 s left"
