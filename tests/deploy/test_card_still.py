"""Still pictures of a report card and of a sensitivity: points where they belong, no name over another, words for all."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.deploy.report.sensitivities import LayerLoss, Sensitivity
from lepton_kit.deploy.report.still import front_picture

SVG = "{http://www.w3.org/2000/svg}"


def card(*variants: tuple[str, float, float]) -> ReportCard:
    rows = tuple(
        Row(
            name, "LiteRT", figures={"score": Figure(score, "measured", score - 0.01, score + 0.01), "latency_1_one": Figure(cost, "measured")},
        )
        for name, score, cost in variants
    )  # fmt: skip
    return ReportCard(rows, metric="accuracy", higher_is_better=True, held_out=360)


def test_cheaper_is_further_left_and_better_is_higher():
    root = ElementTree.fromstring(front_picture(card(("small", 0.9, 0.1), ("large", 0.95, 1.0))).svg)
    small, large = [(float(one.get("cx")), float(one.get("cy"))) for one in root.findall(f"{SVG}circle")]
    assert small[0] < large[0]
    assert small[1] > large[1]
    assert "dasharray" in ElementTree.tostring(root.find(f"{SVG}path"), encoding="unicode")


def test_words_name_the_front_and_count_the_rest():
    picture = front_picture(card(("small", 0.9, 0.1), ("large", 0.95, 1.0), ("bad", 0.8, 2.0)))
    assert picture.text == (
        "accuracy against latency, batch 1, one thread. Worth having, from the cheapest on: small 0.9000 at 0.1 ms, "
        "large 0.9500 at 1 ms. 1 more are beaten in both."
    )


def test_names_of_close_points_do_not_cover_each_other():
    names = ["float32", "float16", "int8", "int4"]
    picture = front_picture(card(*((name, 0.95, 0.1 + 0.001 * place) for place, name in enumerate(names))))
    root = ElementTree.fromstring(picture.svg)
    boxes = [
        (float(one.get("x")), float(one.get("x")) + 6 * len(one.text), float(one.get("y")))
        for one in root.findall(f"{SVG}text")
        if one.text in names
    ]
    assert len(boxes) == 4
    for (a, b, y), (c, d, z) in combinations(boxes, 2):
        assert abs(y - z) >= 10 or b <= c or d <= a


def test_a_card_without_figures_has_no_picture():
    assert front_picture(ReportCard((Row("x", "LiteRT"),), "accuracy", True, 9)) is None


def test_figures_of_plotly_leave_a_picture_too():
    bundle = card(("small", 0.9, 0.1)).figure().update_layout(height=400)._repr_mimebundle_()
    assert re.search(r'alt="accuracy against latency[^"]+small', bundle["text/html"])
    losses = (LayerLoss("conv", 0.9, 0.05, 0.01, 0.1, 100), LayerLoss("dense", 0.96, -0.01, -0.02, 0.01, 100))
    bundle = Sensitivity("int4", "accuracy", 360, 0.95, 400, losses).figure()._repr_mimebundle_()
    assert (
        'alt="accuracy lost when only one layer is int4: conv 0.0500, dense -0.0100"' in bundle["text/html"]
    )
    bars = ElementTree.fromstring(bundle["image/svg+xml"]).findall(f"{SVG}rect")
    assert float(bars[0].get("width")) > float(bars[1].get("width"))
    empty = Sensitivity("int4", "accuracy", 360, 0.95, 400, ())
    assert "image/svg+xml" not in empty.figure()._repr_mimebundle_()


@pytest.mark.parametrize(
    ("counted", "headings"), [(0.90000001, ["accuracy"]), (0.7, ["accuracy", "accuracy (as compiled)"])]
)
def test_a_metric_of_the_compile_stands_beside_the_score_only_where_it_is_another(counted, headings):
    row = Row(
        "x",
        "LiteRT",
        figures={"score": Figure(0.9, "measured"), "own: accuracy": Figure(counted, "measured")},
    )
    found = ReportCard((row,), metric="accuracy", higher_is_better=True, held_out=10)
    table = found.table()
    assert [
        name
        for name in table.columns
        if name.startswith("accuracy") and name.split()[-1] not in ("low", "high")
    ] == headings
    assert table.loc["x", "accuracy"] == 0.9, "no other figure took the score's place"
    assert found.to_markdown().partition("\n")[0].count("accuracy") == len(headings)
