"""The runs of a folder in a browser: found, sorted, compared, labelled, deleted and brought back, all by keyboard."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

import lepton_kit as lk
from lepton_kit.rundir import Status
from tests.browser.desk import Lab
from tests.client.test_table import make

SLOW = 120_000


@pytest.fixture
def folder(lab: Lab) -> Any:
    """Runs that no training made, in a folder of their own."""
    place = lab.root / "kept"
    for number, (name, epochs, end) in enumerate(
        (
            ("wide", 4, Status.FINISHED),
            ("narrow", 3, Status.STOPPED),
            ("deep", 2, Status.FAILED),
            ("odd", 1, None),
        )
    ):
        make(place, f"{name}-20260101-00000{number}-0000", epochs=epochs, workers=number + 1, end=end)
    yield place
    shutil.rmtree(place)


def shows(page: Any, *names: str) -> None:
    """Wait until the table has just these runs, in this order."""
    page.wait_for_function(
        "names => Array.from(document.querySelectorAll('.lk-runs tbody th'), cell => cell.innerText).join() === names",
        arg=",".join(names),
        timeout=SLOW,
    )


def test_runs_are_kept_in_order_by_keyboard(open_notebook: Any, folder: Any) -> None:
    desk = open_notebook(
        "runs.ipynb", ["import lepton_kit as lk\npanel = lk.panels.RunsPanel('kept')\npanel"]
    )
    page = desk.page
    desk.command("notebook:run-all-cells")
    panel = page.locator(".lk-panel").first
    table = page.locator(".lk-runs")
    table.wait_for(timeout=SLOW)

    heading = page.locator(".lk-runs thead").get_by_role("button", name="step")
    heading.focus()
    page.keyboard.press("Enter")
    page.locator(".lk-runs th[aria-sort=ascending]", has_text="step").wait_for()
    shows(page, "odd", "deep", "narrow", "wide")
    page.keyboard.press("Enter")  # the focus has stayed on the heading, which was drawn anew
    page.locator(".lk-runs th[aria-sort=descending]", has_text="step").wait_for()
    shows(page, "wide", "narrow", "deep", "odd")
    displays = "cells => [...new Set(cells.map(cell => getComputedStyle(cell).display))]"
    assert page.locator(".lk-runs :is(td, th)").evaluate_all(displays) == ["table-cell"]

    page.get_by_label("select wide").focus()
    page.keyboard.press("Space")
    page.locator(".lk-runs tr.lk-chosen").wait_for()
    tags = page.get_by_placeholder("words, separated by spaces")
    tags.fill("baseline wide")
    tags.press("Tab")
    panel.get_by_role("button", name="Save").press("Enter")
    page.locator(".lk-runs .lk-tag", has_text="baseline").wait_for()
    assert lk.open_run("wide", folder).tags == ("baseline", "wide")

    page.get_by_label("select narrow").check()
    panel.get_by_role("button", name="Compare").press("Enter")
    page.locator(".lk-compare table").first.wait_for(timeout=SLOW)
    page.locator(".lk-compared svg").wait_for(timeout=SLOW)
    page.set_viewport_size({"width": 1280, "height": 1600})
    desk.photograph_themes("runs-compared")

    panel.get_by_role("button", name="Delete").press("Enter")
    panel.get_by_role("button", name="Yes, delete").press("Enter")
    page.get_by_text("2 runs moved into the trash.").wait_for()
    shows(page, "deep", "odd")
    desk.photograph("runs-deleted")
    panel.get_by_role("button", name="Undo").press("Enter")
    shows(page, "wide", "narrow", "deep", "odd")
    assert len(lk.runs(folder)) == 4

    find = page.get_by_label("Find")
    find.fill("tag=baseline step>1")
    find.press("Enter")
    shows(page, "wide")
    with page.expect_download() as saved:
        panel.get_by_role("button", name="CSV").press("Enter")
    text = saved.value.path().read_text()
    assert text.splitlines()[1].startswith("wide-20260101-000000-0000,wide,finished")
    assert saved.value.suggested_filename == "runs.csv"

    find.fill("")
    find.press("Enter")
    make(folder, "late-20260101-000009-0000")
    page.locator(".lk-runs tbody th", has_text="late").wait_for(timeout=SLOW)  # the page asks by itself
