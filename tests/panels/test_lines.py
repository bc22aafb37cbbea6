"""A still picture of lines: well-formed SVG, points where they belong, words for all, and clear refusals."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from lepton_kit.drawing import WIDTH
from lepton_kit.errors import ConfigError
from lepton_kit.panels import lines
from lepton_kit.panels.lines import BOTTOM, LEFT, RIGHT, TOP

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*args, **options):
    picture = lines(*args, **options)
    return picture, ElementTree.fromstring(picture.svg)


def points(root, place=0):
    path = root.findall(f"{SVG}path")[place].get("d")
    return [(pen, float(x), float(y)) for pen, x, y in re.findall(r"([ML])(-?[\d.]+) (-?[\d.]+)", path)]


def test_ends_of_a_curve_are_the_corners_of_the_plot():
    _, root = drawn({"a": ([0, 5, 10], [0, 1, 2])}, text="It rises", height=300)
    low, high = 300 - BOTTOM, TOP
    assert points(root) == [
        ("M", LEFT, low),
        ("L", (LEFT + WIDTH - RIGHT) / 2, (low + high) / 2),
        ("L", WIDTH - RIGHT, high),
    ]


def test_words_are_there_and_escaped():
    picture, root = drawn(
        {"a < b": ([0, 1], [0, 1])},
        text='A "line" & more',
        x="seconds",
        y="m/s",
        levels={"limit": 0.5},
        moments={"crash": 1},
    )
    told = [one.text for one in root.findall(f"{SVG}text")]
    assert {"a < b", "seconds", "m/s", "limit", "crash"} <= set(told)
    assert root.find(f"{SVG}title").text == root.get("aria-label") == 'A "line" & more'
    bundle = picture._repr_mimebundle_()
    assert bundle["image/svg+xml"] == picture.svg
    assert 'alt="A &quot;line&quot; &amp; more"' in bundle["text/html"]
    assert repr(picture) == '<Picture: A "line" & more>'


def test_marks_are_round_numbers_that_enclose_all_values():
    _, root = drawn({"a": ([0, 1], [0.013, 0.097])}, text="t", levels={"limit": 0.11})
    marks = [
        float(one.text)
        for one in root.findall(f"{SVG}text")
        if one.get("text-anchor") == "end" and one.text[0] == "0"
    ]
    assert marks == [0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12]


def test_a_gap_breaks_the_curve_and_steps_hold_their_value():
    _, root = drawn({"a": ([0, 1, 2, 3], [0, 1, math.nan, 2]), "b": ([0, 3], [0, 2])}, text="t", steps=True)
    assert [pen for pen, *_ in points(root)] == ["M", "L", "L", "M"]
    first, held, up = points(root)[:3]
    assert (first[2], held[1], held[2] != up[2]) == (held[2], up[1], True)
    assert len({path.get("stroke") for path in root.findall(f"{SVG}path")}) == 2


def test_a_level_curve_has_room_around_it():
    _, root = drawn({"a": ([2, 2], [7, 7])}, text="t")
    assert all(np.isfinite(y) and TOP < y < 260 - BOTTOM for _, _, y in points(root))


@pytest.mark.parametrize(
    ("curves", "text", "why"),
    [
        ({}, "t", "curves: .*at least one"),
        ({"a": ([0, 1], [0])}, "t", r"curves\['a'\].*2 and 1 values"),
        ({"a": ([0, 1], [0, math.nan])}, "t", "at least two of them finite"),
        ({"a": "no"}, "t", r"curves\['a'\]"),
        ({"a": ([0, 1], [0, 1])}, " ", "text: .*a sentence"),
    ],
)
def test_what_cannot_be_drawn_is_named(curves, text, why):
    with pytest.raises(ConfigError, match=why):
        lines(curves, text=text)
