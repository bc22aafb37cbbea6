"""The page's own code for plots, asked in a browser: axes, smoothing, what is left out, what is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lepton_kit.panels import plots
from lepton_kit.panels.curves import smooth
from lepton_kit.panels.plots import PAGE

FOLDER = Path(plots.__file__).parent


@pytest.fixture(scope="module")
def ask(browser):
    """Evaluates an expression in which the functions of the plots' page are known."""
    code = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in PAGE).replace(
        "export default {", "const page = {"
    )
    page = browser.new_page()
    yield lambda expression, argument=None: page.evaluate(
        f"(given) => {{ {code}\n return ({expression})(given); }}", argument
    )
    page.close()


LOOK = "{ id: 'x', smoothing: 0, log: false, all: false, zoom: {}, limits: {} }"
PLOT = """{ name: 'p', title: 'Loss, "raw"', x: 'step', span: 3, height: 200, zero: true, log: true, whole: false, range: null,
  curves: [{ name: 'c', label: 'training <b>', color: '#123456', kind: 'line', format: 'figure' }] }"""
CURVES = "{ c: { x: Float32Array.from(given[0]), y: Float32Array.from(given[1]) } }"


def test_ticks_are_round(ask):
    assert ask("() => roundTicks(0, 2.4, 5)") == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert ask("() => roundTicks(-1, 1, 4)") == pytest.approx([-1, -0.5, 0, 0.5, 1])
    assert ask("() => logTicks(0.02, 30)") == pytest.approx([0.1, 1, 10])
    assert ask("() => logTicks(0.2, 30)")[:3] == pytest.approx([0.2, 0.5, 1])
    assert ask("() => logTicks(1e-9, 1e3)") == pytest.approx([1e-9, 1e-7, 1e-5, 1e-3, 1e-1, 1e1, 1e3])
    assert ask("() => logTicks(2.1, 2.2)") == pytest.approx([2.1, 2.15, 2.2])


def test_smoothing_in_the_page_is_that_of_python(ask):
    values = np.random.default_rng(0).normal(size=40)
    assert ask("(given) => Array.from(smoothed(given, 0.8))", values.tolist()) == pytest.approx(
        smooth(values, 0.8).tolist()
    )


def test_scales_go_there_and_back(ask):
    assert ask(
        "() => [scaleOf(false, 0, 10, 46, 546)(5), scaleOf(true, 0.01, 100, 200, 0)(1)]"
    ) == pytest.approx([296, 100])
    assert ask("() => scaleOf(true, 0.01, 100, 200, 0).back(100)") == pytest.approx(1)


@pytest.mark.parametrize(
    ("look", "high", "hidden"),
    [("limits: { p: [0, 2, 1] }", 2.12, 1), ("limits: { p: [0, 2, 1] }, all: true", 954, 0),
     ("limits: { p: [0, 2, 1] }, zoom: { p: [0, 1] }", 2.06, 0)],
)  # fmt: skip
def test_far_values_do_not_flatten_a_curve(ask, look, high, hidden):
    ends = ask(f"(given) => endsOf({PLOT}, {CURVES}, {{ ...{LOOK}, {look} }})", [[0, 1, 2], [1, 2, 900]])
    assert ends["y"][1] == pytest.approx(high, abs=0.1)
    assert ends["hidden"] == hidden


def test_a_log_axis_leaves_out_what_is_not_positive(ask):
    inner = ask(
        f"(given) => drawn({PLOT}, {CURVES}, {{ ...{LOOK}, log: true }}, 400, 200).inner",
        [[1, 2, 3, 4], [1, 0, 10, 100]],
    )
    assert "NaN" not in inner
    assert "Infinity" not in inner
    assert inner.count("<circle") == 3


def test_nothing_to_draw_is_drawn_empty(ask):
    for values in ([[], []], [[1], [None]]):
        inner = ask(f"(given) => drawn({PLOT}, {CURVES}, {LOOK}, 400, 200).inner", values)
        assert "NaN" not in inner


def test_a_plot_is_told_in_words(ask):
    assert (
        ask(f"(given) => inWords({PLOT}, {CURVES})", [[1, 2000], [0.5, 0.25]])
        == 'Loss, "raw": training <b> 0.2500 at step 2,000'
    )
    assert ask(f"(given) => inWords({PLOT}, {CURVES})", [[], []]) == 'Loss, "raw": no value yet'


def test_saved_as_csv_and_as_a_drawing(ask):
    table = ask(f"(given) => asCsv([{PLOT}], {CURVES})", [[1, 2], [0.5, 0.25]])
    assert (
        table == 'plot,curve,x,y\n"Loss, ""raw""",training <b>,1,0.5\n"Loss, ""raw""",training <b>,2,0.25\n'
    )
    picture = ask(
        f"""(given) => {{ const text = asSvg([{PLOT}], {CURVES}, {LOOK}, "white");
        const read = new DOMParser().parseFromString(text, "image/svg+xml");
        return [read.querySelectorAll("parsererror").length, read.querySelectorAll("path").length, read.documentElement.textContent]; }}""",
        [[1, 2], [0.5, 0.25]],
    )
    assert picture[:2] == [0, 1]
    assert 'Loss, "raw"training <b>' in picture[2]
