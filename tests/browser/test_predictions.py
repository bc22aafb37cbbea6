"""What a model says of its validation split, looked at in JupyterLab: every kind of data, wide, narrow, light, dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lepton_kit as lk
from tests.browser.desk import KERNEL_IDLE
from tests.browser.test_workbench import SLOW, all_cells_ran, show_again
from tests.panels.conftest import SyntheticRun
from tests.panels.predicting import classified, labelled, run_on, tell, valued


def made(folder: Path) -> dict[str, SyntheticRun]:
    """A run of each kind, after an epoch."""
    runs = {}
    for name, share in (("digits", 0.8), ("intents", 0.7), ("tennessee", 0.6), ("german_credit", 0.7)):
        prepared = lk.data.sample(name).prepare()
        runs[name] = run_on(folder / f"runs/{name}", prepared)
        runs[name].advance(12)
        tell(runs[name], classified(prepared, share))
    prepared = lk.data.sample("brain_segmentation").prepare()
    runs["places"] = run_on(folder / "runs/places", prepared)
    tell(runs["places"], classified(prepared, 0.95))
    for name, tally in (
        ("values", valued(300)),
        ("labels", labelled(300, ("urgent", "billing", "bug", "praise"))),
    ):
        table = lk.data.arrays(
            np.random.default_rng(0).normal(size=(300, 5)), np.zeros(300), validation_split=0.5
        )
        runs[name] = run_on(folder / f"runs/{name}", table.prepare())
        tell(runs[name], tally)
    return runs


def cells(runs: dict[str, SyntheticRun]) -> list[str]:
    start = "import lepton_kit as lk\nfrom types import SimpleNamespace\n"
    return [
        f"{start}run = SimpleNamespace(id={name!r}, directory={str(run.directory)!r}, alive=True, hold=lambda: None)\n"
        f"panel = {name} = lk.panels.LivePanel(run)\n{name}"
        for name, run in runs.items()
    ]


def test_predictions_are_shown_as_they_change_and_after_a_reload(open_notebook: Any, tmp_path: Path):
    runs = made(tmp_path)
    desk = open_notebook("predictions.ipynb", cells(runs))
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1100})
    desk.command("notebook:run-all-cells")
    all_cells_ran(page)
    digits = page.locator(".jp-OutputArea .lk-panel").first
    told = digits.locator(".lk-predicted .lk-note").first
    told.wait_for(timeout=SLOW)
    assert told.inner_text().startswith("After epoch 1: ")
    assert digits.locator(".lk-confusion tbody tr").count() == 10
    assert digits.locator(".lk-examples li").count() == 8
    drawn = digits.locator(".lk-examples .lk-held").first
    assert "url(" in drawn.evaluate("one => getComputedStyle(one).backgroundImage")

    prepared = lk.data.sample("digits").prepare()
    runs["digits"].advance(12)
    tell(runs["digits"], classified(prepared, 0.99), epoch=1)
    digits.locator(".lk-predicted .lk-note", has_text="After epoch 2: ").first.wait_for(timeout=SLOW)
    for place, name in enumerate(runs):
        page.locator(".lk-panel").nth(place).locator(".lk-predicted").scroll_into_view_if_needed()
        desk.photograph_themes(f"predictions-{name}")

    desk.command("application:toggle-left-area")
    page.set_viewport_size({"width": 320, "height": 800})
    digits.locator(".lk-predicted").scroll_into_view_if_needed()
    wide = digits.locator(".lk-predicted").evaluate("one => one.scrollWidth - one.clientWidth")
    assert wide <= 0, "only the matrix scrolls, in its own box"
    desk.photograph("predictions-narrow")
    digits.locator(".lk-examples").scroll_into_view_if_needed()
    desk.photograph("predictions-narrow-samples")
    page.set_viewport_size({"width": 1280, "height": 1100})

    page.reload()
    page.wait_for_function(KERNEL_IDLE, timeout=SLOW)
    show_again(desk)
    page.locator(".lk-predicted").first.wait_for(timeout=SLOW)
