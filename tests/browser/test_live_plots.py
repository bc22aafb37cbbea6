"""Live plots never freeze: what a page draws is what the run has, after whatever happens to page, kernel and machine.

Each situation is met `TIMES` times with the page's processor throttled and the kernel's shared with a busy thread;
LEPTON_LIVE_TIMES=10 is the long version.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from lepton_kit.panels.curves import curves_of
from lepton_kit.panels.run_plots import plots_of
from tests.browser.desk import KERNEL_IDLE
from tests.browser.test_workbench import SLOW, show_again
from tests.panels.conftest import SyntheticRun

TIMES = int(os.environ.get("LEPTON_LIVE_TIMES", "1"))
THROTTLED = 4
DRAWN = """() => Object.fromEntries(Array.from(document.querySelectorAll('.lk-plot:not([hidden])')).map((plot) => [
  plot.dataset.plot,
  { words: plot.querySelector('svg').getAttribute('aria-label'),
    points: Array.from(plot.querySelectorAll('svg path'), (path) => (path.getAttribute('d').match(/M|L/g) ?? []).length),
    bars: plot.querySelectorAll('svg g rect').length }]))"""
HOLDS_GIL = """
import threading
def burn():
    while True:
        sum(range(20_000))
threading.Thread(target=burn, daemon=True).start()
"""


def cells(run: SyntheticRun, load: bool = True) -> list[str]:
    made = (
        "import lepton_kit as lk\nfrom types import SimpleNamespace\n"
        f"run = SimpleNamespace(id='demo-1', directory={str(run.directory)!r}, alive=True, hold=lambda: None)\n"
        "panel = lk.panels.LivePanel(run)\n"
    )
    return [made + (HOLDS_GIL if load else "") + "panel"]


def expected(run: SyntheticRun) -> dict[str, Any]:
    """Of each plot: how many points each drawn line has, how many bars there are, and what its last points read."""
    curves = curves_of(run.view())
    found = {}
    for plot in plots_of(curves):
        known = [one for one in plot.curves if len(getattr(curves, one.name)[0])]
        if plot.optional and not known:
            continue
        found[plot.name] = {
            "points": [len(getattr(curves, one.name)[0]) for one in plot.curves if one.kind in ("line", "dots")],
            "bars": run.ranks if plot.name == "per_rank" else 0,
            "says": [
                f"{one.label} {read(getattr(curves, one.name)[1][-1], one.format)}"
                f" at step {getattr(curves, one.name)[0][-1]:,.0f}"
                for one in known if one.format in ("figure", "count")
            ],
        }  # fmt: skip
    return found


def read(value: float, form: str) -> str:
    """A value as a page reads it: `told` in plots_draw.js."""
    if form == "count":
        return f"{value:.0f}"
    if abs(value) >= 1e-3 or value == 0:
        return f"{value:.4f}"
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{digits}e{int(power)}"


def agrees(page: Any, run: SyntheticRun, within: int = SLOW) -> None:
    """Wait until the page has drawn all that the run has, and fail with what it drew if it never does."""
    wanted = expected(run)
    try:
        page.wait_for_function(
            f"""(wanted) => {{
              const drawn = ({DRAWN})();
              return Object.entries(wanted).every(([name, plot]) => drawn[name]
                && (!plot.points.length || plot.points.join() === drawn[name].points.join())
                && plot.bars === drawn[name].bars && plot.says.every((said) => drawn[name].words.includes(said)));
            }}""",
            arg=wanted,
            timeout=within,
        )
    except Exception as late:
        raise AssertionError(f"the page drew {page.evaluate(DRAWN)}, the run has {wanted}") from late


def begun(folder: Any) -> SyntheticRun:
    run = SyntheticRun(folder / "runs/demo-1", ranks=2, steps_per_epoch=50, epochs=2000).begin()
    run.advance(60)
    return run


def go_on(run: SyntheticRun, turn: int) -> None:
    """More steps, and other workers than before."""
    run.advance(30)
    run.reform(2 + turn % 3, "asked")
    run.advance(25)


def save(desk: Any) -> None:
    desk.command("docmanager:save")
    desk.page.wait_for_function(
        "() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=60_000
    )


def throttle(page: Any, rate: int = THROTTLED) -> None:
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": rate})


@pytest.fixture
def shown(open_notebook, tmp_path):
    """A desk whose page shows a run, and the run."""
    run = begun(tmp_path)
    desk = open_notebook("live.ipynb", cells(run))
    throttle(desk.page)
    desk.command("notebook:run-all-cells")
    agrees(desk.page, run)
    return desk, run


def keeps_up(desk: Any, run: Any, turn: int) -> None:
    """The page shows what the run has, and goes on to."""
    agrees(desk.page, run)
    go_on(run, turn + 1)
    agrees(desk.page, run)


def test_after_a_reload(shown):
    desk, run = shown
    for turn in range(TIMES):
        save(desk)
        run.advance(10)
        desk.page.reload()
        go_on(run, turn)  # while the page loads
        desk.page.wait_for_function(KERNEL_IDLE, timeout=SLOW)
        run.advance(5)
        show_again(desk)
        keeps_up(desk, run, turn)


@pytest.mark.long
def test_closed_and_opened_again(shown):
    desk, run = shown
    for turn in range(TIMES):
        save(desk)
        desk.command("application:close")
        # A still picture that was renewed since makes it unsaved again: JupyterLab asks.
        desk.page.wait_for_function(
            """() => {
              document.querySelector('.jp-Dialog .jp-mod-accept')?.click();
              return !document.querySelector('.jp-Notebook');
            }"""
        )
        go_on(run, turn)
        desk.command("docmanager:open", path="live.ipynb")
        desk.page.wait_for_function(KERNEL_IDLE, timeout=SLOW)
        run.advance(5)
        show_again(desk)
        keeps_up(desk, run, turn)


def test_after_a_kernel_restart(shown):
    desk, run = shown
    page = desk.page
    for turn in range(TIMES):
        page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()"
        )
        go_on(run, turn)
        page.wait_for_function(KERNEL_IDLE, timeout=SLOW)
        page.evaluate(
            "text => { window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells[0].setSource(text) }",
            cells(run)[0],
        )
        desk.command("notebook:run-all-cells")
        page.wait_for_function("() => !document.querySelector('.lk-dead')", timeout=SLOW)
        agrees(page, run)
        go_on(run, turn + 1)
        agrees(page, run)


@pytest.mark.long
def test_a_kernel_that_is_busy_still_feeds_a_page(shown):
    desk, run = shown
    shell = "window.jupyterapp.shell.currentWidget"
    for turn in range(TIMES):
        desk.page.evaluate(
            f"() => {{ {shell}.context.sessionContext.session.kernel.requestExecute({{ code: 'import time; time.sleep(8)' }}) }}"
        )
        go_on(run, turn)
        agrees(desk.page, run, within=60_000)


@pytest.mark.long
def test_a_control_that_a_busy_kernel_does_not_hear_says_so(open_notebook):
    desk = open_notebook(
        "busy.ipynb", ["import lepton_kit as lk\nlk.Workbench()", "import time\ntime.sleep(900)"]
    )
    desk.command("notebook:run-all-cells")
    code = desk.page.locator("button", has_text="Show the code").first
    code.wait_for(timeout=SLOW)
    code.click()
    busy = desk.page.locator(".lk-busy-note", has_text="The kernel is busy")
    busy.wait_for(timeout=SLOW)
    assert busy.count() == 1
    desk.photograph("busy-kernel")
    desk.command("notebook:interrupt-kernel")
    busy.wait_for(state="detached", timeout=SLOW)
    desk.page.locator(".lk-code").first.wait_for(timeout=SLOW)  # what was pressed acts now


def test_what_is_lost_on_the_way_comes_again(shown):
    """Updates that never reach the page's widgets, as while they load: the page asks, or is found behind."""
    desk, run = shown
    page, deaf = desk.page, [False]

    def between(socket: Any) -> None:
        server = socket.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            lost = (
                deaf[0] and isinstance(message, bytes) and b'"update"' in message and b"comm_msg" in message
            )
            if not lost:
                socket.send(message)

        server.on_message(pass_on)

    save(desk)
    page.route_web_socket(re.compile(r"/channels"), between)
    page.reload()
    page.wait_for_function(KERNEL_IDLE, timeout=SLOW)
    show_again(desk)
    agrees(page, run)
    for turn in range(TIMES):
        deaf[0] = True
        go_on(run, turn)
        page.wait_for_timeout(2500)
        deaf[0] = False
        if turn % 2:
            run.advance(5)  # the page sees that a version is missing; else it says which it drew
        agrees(page, run, within=60_000)


@pytest.mark.long
def test_a_panel_of_a_dead_kernel_says_so(shown):
    desk, _ = shown
    desk.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()"
    )
    desk.page.locator(".lk-dead-note", has_text="The kernel of this panel has ended").wait_for(timeout=SLOW)
    assert desk.page.locator(".lk-dead > :not([inert]):not(.lk-dead-note)").count() == 0
    desk.photograph_themes("dead-kernel")


def test_a_second_page_hears_that_another_one_restarted_the_kernel(shown):
    """JupyterLab tells a restart to the page that asked for it alone."""
    desk, _ = shown
    save(desk)
    second = desk.page.context.new_page()
    second.goto(desk.page.url.replace("/lab/", "/lab/workspaces/second/"))
    second.wait_for_function(KERNEL_IDLE, timeout=SLOW)
    second.locator(".lk-plot").first.wait_for(timeout=SLOW)
    assert second.locator(".lk-dead-note").count() == 0
    desk.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()"
    )
    second.locator(".lk-dead-note", has_text="The kernel of this panel has ended").wait_for(timeout=SLOW)
