"""A user's way through the panels, in a browser: start, watch, scale, reload, stop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.browser.desk import KERNEL_IDLE

QUICKSTART = Path(__file__).parents[2] / "notebooks/00_quickstart.ipynb"
POINTS = """() => {
  const lines = Array.from(document.querySelectorAll('.lk-plot[data-plot=loss] svg path'));
  return Math.max(0, ...lines.map(line => (line.getAttribute('d').match(/[ML]/g) ?? []).length));
}"""
SLOW = 240_000


def all_cells_ran(page: Any) -> None:
    """Wait for the last cell, or for the first error, which is told."""
    page.wait_for_function(
        """() => {
          const cells = Array.from(window.jupyterapp.shell.currentWidget.content.model.cells);
          const code = cells.filter(cell => cell.type === 'code').map(cell => cell.toJSON());
          window.failures = code.flatMap(cell => cell.outputs.filter(output => output.output_type === 'error'));
          return window.failures.length > 0 || code.every(cell => cell.execution_count);
        }""",
        timeout=SLOW,
    )
    assert [
        f"{failure['ename']}: {failure['evalue']}" for failure in page.evaluate("() => window.failures")
    ] == []


def show_again(desk: Any) -> None:
    """Show the panel by its name; JupyterLab does not always restore widgets by itself after a reload."""
    desk.page.evaluate(
        "() => { window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells[0].setSource('panel') }"
    )
    desk.command("notebook:run-all-cells")


def test_quickstart_runs_and_start_trains(open_notebook):
    desk = open_notebook("quickstart.ipynb", QUICKSTART)
    page = desk.page
    desk.command("notebook:run-all-cells")
    all_cells_ran(page)

    panel = page.locator(".lk-workbench").first
    panel.scroll_into_view_if_needed()
    epochs = panel.get_by_label("Epochs", exact=True)
    epochs.fill("5000")
    epochs.press("Tab")
    before = panel.locator(".lk-summary b").first.inner_text()
    panel.locator("button.lk-start").click()
    page.wait_for_function(
        "before => document.querySelector('.lk-workbench .lk-summary b').innerText !== before",
        arg=before,
        timeout=SLOW,
    )
    panel.locator(".lk-summary .lk-chip-running").wait_for(timeout=SLOW)
    page.wait_for_function(f"() => ({POINTS})() > 12", timeout=SLOW)
    seen = page.evaluate(POINTS)
    page.wait_for_function(f"seen => ({POINTS})() > seen", arg=seen, timeout=SLOW)
    desk.photograph("quickstart-training")
    panel.locator("button.lk-stop").click()
    panel.locator(".lk-summary .lk-chip-stopped").wait_for(timeout=SLOW)

    epochs.fill("2")
    epochs.press("Tab")
    panel.locator("button.lk-start").click()
    panel.locator(".lk-summary .lk-chip-finished").wait_for(timeout=SLOW)
    assert panel.locator("button.lk-start").is_enabled()
    page.set_viewport_size({"width": 1280, "height": 1700})
    panel.scroll_into_view_if_needed()
    desk.photograph_themes("quickstart-finished")


def test_slider_scales_and_a_reloaded_page_steers_on(open_notebook):
    desk = open_notebook(
        "elastic.ipynb",
        ["import lepton_kit as lk\npanel = lk.Workbench()\npanel.epochs.value = 100_000\npanel"],
    )
    page = desk.page
    desk.command("notebook:run-all-cells")
    panel = page.locator(".lk-workbench")
    panel.locator(".lk-glance .lk-bar").wait_for(timeout=SLOW)
    panel.locator("button.lk-start").click()
    panel.locator(".lk-summary .lk-chip-running").wait_for(timeout=SLOW)

    panel.get_by_role("slider", name="Workers").focus()
    page.keyboard.press("ArrowRight")
    panel.locator(".lk-observed", has_text=re.compile(r"3 wanted .* 3 training")).wait_for(timeout=SLOW)

    desk.command("docmanager:save")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=30_000)
    seen = page.evaluate(POINTS)
    page.reload()
    page.wait_for_function(KERNEL_IDLE, timeout=SLOW)
    show_again(desk)
    panel.locator(".lk-summary .lk-chip-running").wait_for(timeout=SLOW)
    page.wait_for_function(f"seen => ({POINTS})() >= seen", arg=min(seen, 100), timeout=SLOW)
    assert panel.get_by_label("Workers", exact=True).input_value() == "3"
    desk.photograph("elastic-reloaded")

    panel.locator("button.lk-stop").click()
    panel.locator(".lk-summary .lk-chip-stopped").wait_for(timeout=SLOW)
    page.set_viewport_size({"width": 1280, "height": 1700})
    desk.photograph_themes("elastic-stopped")


def test_a_finished_run_is_compressed_and_emulated_beside_it(open_notebook):
    desk = open_notebook(
        "compress.ipynb",
        ["import lepton_kit as lk\npanel = lk.Workbench()\npanel.epochs.value = 3\npanel"],
    )
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1800})
    desk.command("notebook:run-all-cells")
    panel = page.locator(".lk-workbench")
    panel.locator(".lk-glance .lk-bar").wait_for(timeout=SLOW)
    panel.locator("button.lk-start").click()
    panel.locator(".lk-summary .lk-chip-finished").wait_for(timeout=SLOW)

    panel.get_by_role("tab", name="Compress").click()
    compress = panel.locator("button.lk-compress-and-measure")
    compress.click()
    panel.locator("button.lk-cancel:enabled").click(timeout=SLOW)
    panel.get_by_text("the compression was cancelled").wait_for(timeout=SLOW)
    compress.click()
    panel.get_by_text("converting and scoring").wait_for(timeout=SLOW)
    desk.photograph("compressing")
    card = panel.locator(".lk-table", has_text="gzip")
    card.get_by_role("cell", name="int8", exact=True).wait_for(timeout=SLOW)
    emulate = panel.locator("button.lk-emulate-on-fpga")
    if emulate.is_enabled():  # where hls4ml and g++ are installed
        emulate.click()
        card.get_by_role("cell", name=re.compile(r"fpga ap_fixed<16,6>")).wait_for(timeout=SLOW)
    compress.scroll_into_view_if_needed()
    desk.photograph_themes("compressed")
