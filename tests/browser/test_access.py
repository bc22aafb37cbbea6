"""Panels for everybody: nothing serious for axe-core, all by keyboard, names for screen readers, 320 px, stills hidden."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_workbench import all_cells_ran

SLOW = 240_000
SMALL = """
import time
import numpy as np
from pathlib import Path
import lepton_kit as lk
from lepton_kit.data.texts.preprocessing import TextPreprocessing
from lepton_kit.deploy.predict import Predictor
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.models.answers import Answer
from tests.panels.predicting import classified, run_on, tell

measured = lambda value, low=None, high=None: Figure(value, "measured", low, high)
rows = tuple(
    Row(name, "LiteRT", role=role, flags=flags, figures={"score": measured(score, score - 0.01, score + 0.01),
        "file_bytes": measured(size), "gzip_bytes": measured(size / 2), "latency_1_one": measured(ms, 0.9 * ms, 1.1 * ms)})
    for name, role, score, size, ms, flags in (
        ("float32", "float", 0.99, 400_000, 0.2, ()), ("int8", "variant", 0.98, 110_000, 0.05, ("worse than float beyond chance",)),
        ("float16", "variant", 0.99, 200_000, 0.21, ()), ("control", "control", 0.991, 400_000, 0.22, ())))
card = ReportCard((*rows, Row("broken", "LiteRT", error="the converter crashed")), "accuracy", True, 360, best="int8")
report = lk.panels.ReportPanel()
report.present(card)
report
----
names = ("book", "cancel", "greet")
how = TextPreprocessing(vocabulary=("[padding]", "[unknown]", *names), sequence_length=8)
answers = (Answer(task="classification", link="softmax", labels=names),)
run = lambda x: [np.stack([2.0 * (x == word).sum(1) for word in (2, 3, 4)], 1)]
lk.panels.AskPanel(Predictor(how, answers, run), "book a table", threshold=0.6)
----
import pandas as pd
table = pd.DataFrame({"age": [20, 30, 40, 50] * 10, "job": ["fixed", "others"] * 20, "bad": ["no"] * 20 + ["yes"] * 20})
how = lk.data.table(table, target="bad", validation_split=0.0).prepare().preprocessing
yes_no = (Answer(task="classification", link="softmax", labels=("no", "yes")),)
lk.panels.InputForm(Predictor(how, yes_no, lambda x: [np.tile([[0.3, 0.7]], (len(x), 1))]))
----
digits = lk.data.sample("digits").prepare()
run = run_on(Path(f"runs/demo-{time.time_ns()}").absolute(), digits, sparsity=True)
run.advance(30)
tell(run, classified(digits))
run.reform(1, "worker 1 (rank 1): killed by signal 9", wanted=2)
run.advance(6)
lk.panels.LivePanel(run)
----
lk.panels.RunsPanel()
----
lk.data.describe(lk.data.sample("digits"))
----
from lepton_kit.hosts import HostSpec
hosts = lk.panels.HostsPanel()
hosts._show([HostSpec.parse(one) for one in ("localhost/a:2", "localhost/b", "gpu-box-in-the-cellar:4")], {"localhost/a"})
hosts.checked = lk.Cluster("localhost/a:2,localhost/b").check()
hosts._tell()
hosts
----
import os, tempfile
from lepton_kit.runtime.pool.folder import PoolFolder
from lepton_kit.runtime.pool.members import Entry, Membership, this_machine
from lepton_kit.runtime.pool.share import user_name
os.environ["LEPTON_POOL"] = tempfile.mkdtemp()
here, me = {"machine": this_machine(), "most": 4, "cores": 4}, user_name()
far = {"machine": "gpu-box:4, lab-3:2", "most": 6, "cores": 6}
told = (
    Entry("digits-20261126-101500-1a2b", me, 1.0, held=2, state="running", left=90000.0, speeds={1: 60.0, 2: 100.0}, **here),
    Entry("faults-20261126-101700-77aa", "eve", 2.0, held=1, state="running", left=5e5, speeds={1: 210.0}, **here),
    Entry("credit-20261126-102000-9f3c", "mallory", 3.0, state="queued", least=4, **here),
    Entry("intents-20261126-102100-0c0d", me, 4.0, state="queued", **here),
    Entry("lidar-20261126-090000-beef", me, 0.5, held=4, state="running", left=9e6, speeds={4: 812.0}, **far),
    Entry("mri-20261126-093000-cafe", "eve", 0.7, held=1, state="paused", left=9e5, speeds={1: 30.0}, **far))
members = [Membership(PoolFolder(Path(os.environ["LEPTON_POOL"])), one.run) for one in told]
for member, one in zip(members, told):
    member.tell(one)
lk.panels.PoolPanel()
----
bench = lk.Workbench(warm=False)
bench
"""
CELLS = [cell.strip() for cell in SMALL.split("----")]
LIVE, WORKBENCH = 3, 8
TABS = ("Set up", "Compress", "Runs", "Machine")
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
LOOK = """async ([chosen, options]) => {
  const found = await axe.run(chosen, options);
  return found.violations.filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => ({
    rule: one.id, help: one.help,
    where: one.nodes.map((node) => node.html.slice(0, 220) + ' ' + (node.any[0]?.message ?? '')).slice(0, 6),
  }));
}"""


def axe() -> str:
    """The text of axe-core."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.fail("axe-playwright-python is missing; `make setup` installs it")
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def cell(desk: Any, place: int) -> str:
    """Bring a cell into view (cells far away are not on the page at all); a CSS selector of its output."""
    desk.page.evaluate(
        "place => window.jupyterapp.shell.currentWidget.content.scrollToItem(place, 'start')", place
    )
    chosen = f'.jp-Cell[data-windowed-list-index="{place}"] .jp-Cell-outputWrapper'
    desk.page.locator(chosen).locator(".lk-panel, .lk-described").first.wait_for(timeout=60_000)
    return chosen


@pytest.fixture
def desk(open_notebook: Any) -> Any:
    made = open_notebook("access.ipynb", CELLS)
    made.page.set_viewport_size({"width": 1280, "height": 1600})
    made.command("notebook:run-all-cells")
    all_cells_ran(made.page)
    made.page.locator(cell(made, WORKBENCH)).locator(".lk-glance .lk-bar").wait_for(timeout=SLOW)
    return made


def found_by_axe(page: Any, chosen: str) -> list[str]:
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(axe())
    return [json.dumps(one) for one in page.evaluate(LOOK, [chosen, RULES])]


def test_axe_finds_nothing_serious_in_any_panel(desk):
    page = desk.page
    found = []
    for theme in ("Light", "Dark"):
        desk.command("apputils:change-theme", theme=f"JupyterLab {theme}")
        page.wait_for_function(f"() => document.body.dataset.jpThemeName === 'JupyterLab {theme}'")
        page.wait_for_timeout(1500)
        for place in range(len(CELLS)):
            chosen = cell(desk, place)
            for tab in TABS if place == WORKBENCH else ("",):
                if tab:
                    page.get_by_role("tab", name=tab, exact=True).click()
                page.wait_for_timeout(500)
                desk.photograph(f"access-{place}-{tab or 'all'}-{theme.lower()}")
                found += [f"{theme}, cell {place} {tab}: {one}" for one in found_by_axe(page, chosen)]
    assert not found, "\n".join(found)


def test_a_run_is_started_changed_and_stopped_by_keyboard_alone(open_notebook):
    desk = open_notebook(
        "keys.ipynb",
        ["import lepton_kit as lk\npanel = lk.Workbench(warm=False)\npanel"],
    )
    page = desk.page
    desk.command("notebook:run-all-cells")
    panel = page.locator(".lk-workbench")
    panel.locator(".lk-glance .lk-bar").wait_for(timeout=SLOW)
    panel.get_by_role("tab", name="Set up").focus()
    passed = tabbed_to(page, "Epochs")
    assert {"Data", "Hidden size", "Hidden size, slider", "Workers, slider", "Global batch"} <= set(passed)

    page.keyboard.type("0")  # the field is chosen whole when it is tabbed to
    page.keyboard.press("Tab")
    problem = panel.get_by_text("Epochs: got 0; expected a whole number from 1 to")
    problem.wait_for(timeout=SLOW)
    panel.locator(".lk-state").filter(has_text="Start waits: see Epochs").wait_for(timeout=SLOW)
    assert panel.get_by_label("Epochs", exact=True).get_attribute("aria-invalid") == "true"
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("100000")
    page.keyboard.press("Enter")
    problem.wait_for(state="hidden", timeout=SLOW)
    panel.locator("button.lk-start").and_(page.locator(":enabled")).wait_for(timeout=SLOW)

    tabbed_to(page, "Start")
    page.keyboard.press("Enter")
    panel.locator(".lk-summary .lk-chip-running").wait_for(timeout=SLOW)
    panel.get_by_role("slider", name="Workers").focus()
    page.keyboard.press("ArrowLeft")
    panel.locator(".lk-observed", has_text="1 wanted").wait_for(timeout=SLOW)
    tabbed_to(page, "Stop")
    page.keyboard.press("Space")
    panel.locator(".lk-summary .lk-chip-stopped").wait_for(timeout=SLOW)
    said = " ".join(panel.locator(".lk-heard").all_text_contents())
    assert "stopped" in said
    told = panel.locator(".lk-words", has_text="The plots in words")
    assert told.text_content().startswith("The plots in wordsTraining loss")


def tabbed_to(page: Any, name: str, most: int = 60) -> list[str]:
    """Press Tab until the focus is on the control of this name; the names of all that were passed."""
    passed: list[str] = []
    while len(passed) < most:
        page.keyboard.press("Tab")
        passed.append(page.evaluate(FOCUSED))
        if passed[-1] == name:
            return passed
    pytest.fail(f"no way by keyboard to {name!r}; passed {passed}")


FOCUSED = """() => {
  const one = document.activeElement;
  return (one.getAttribute('aria-label') || one.labels?.[0]?.textContent || one.textContent || one.title || '').trim();
}"""
CLIPPED = """(chosen) => {
  const panel = document.querySelector(chosen);
  const width = panel.getBoundingClientRect();
  const scrolls = (one) => one.closest('.widget-html-content, .lk-code, .lk-runs-wide, .jp-RenderedHTMLCommon') !== null;
  const small = Array.from(panel.querySelectorAll('select')).filter((one) => one.checkVisibility() && one.offsetWidth < 80)
    .map((one) => `too small to read: ${one.outerHTML.slice(0, 120)}`);
  return small.concat(Array.from(panel.querySelectorAll('input, select, button, label, .lk-title, .lk-note, .lk-slider, svg.main-svg'))
    .filter((one) => one.checkVisibility() && !scrolls(one) && !one.classList.contains('lk-heard'))
    .filter((one) => { const at = one.getBoundingClientRect(); return at.width > 2 && at.right > width.right + 1; })
    .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)} ${one.getBoundingClientRect().right}`));
}"""


@pytest.mark.parametrize("width", [320, pytest.param(1280, marks=pytest.mark.long)])
def test_nothing_is_clipped_in_a_narrow_page_or_enlarged_fourfold(desk, width):
    """A page of 1280 pixels enlarged to 400 % has as much room as one of 320 pixels."""
    page = desk.page
    desk.command("application:toggle-left-area")
    if width == 1280:
        page.evaluate("() => { document.body.style.zoom = 4; }")
        page.set_viewport_size({"width": 1280, "height": 1600})
    else:
        page.set_viewport_size({"width": 320, "height": 1200})
    clipped = []
    for place in range(len(CELLS)):
        if place == 5:
            continue  # a description: its tables scroll
        chosen = cell(desk, place)
        for tab in TABS if place == WORKBENCH else ("",):
            if tab:
                page.get_by_role("tab", name=tab, exact=True).click()
            page.wait_for_timeout(700)
            desk.photograph(f"narrow-{width}-{place}-{tab or 'all'}")
            clipped += [f"{place} {tab}: {one}" for one in page.evaluate(CLIPPED, f"{chosen} .lk-panel")]
    assert not clipped, "\n".join(clipped)
