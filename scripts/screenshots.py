"""Take the pictures of the docs in a real JupyterLab, light and dark, so that they stay true: `make screenshots`."""

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 1280
COLOURS = 200
SLOW = 300_000
RUN = """import lepton_kit as lk

panel = lk.Workbench()
panel.compression.pattern.value = "unstructured"
panel.epochs.value, panel.training.name.value = {epochs}, "digits"
panel"""
REPORT = """lk.compress(panel.run, quantize=("float16", "dynamic_int8", "int8", "int4"), control=False, memory=False)
report = lk.panels.ReportPanel(panel.run)
report"""


def photograph(desk: Any, name: str, chosen: str, folder: Path) -> list[Path]:
    """The part of the page that ``chosen`` finds, in both themes, as small PNG files ``NAME-light`` and ``NAME-dark``."""
    from PIL import Image

    written = []
    for theme in ("Light", "Dark"):
        desk.command("apputils:change-theme", theme=f"JupyterLab {theme}")
        desk.page.wait_for_function(f"() => document.body.dataset.jpThemeName === 'JupyterLab {theme}'")
        desk.page.wait_for_timeout(1500)
        taken = Image.open(io.BytesIO(desk.page.locator(chosen).first.screenshot()))
        path = folder / f"{name}-{theme.lower()}.png"
        taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
        written.append(path)
    return written


def shown(page: Any, chosen: str) -> None:
    """Wait for a part of the page, or for a cell that fails: that is told at once."""
    page.wait_for_function(
        """chosen => {
          const cells = Array.from(window.jupyterapp.shell.currentWidget.content.model.cells);
          const outputs = cells.flatMap(cell => cell.toJSON().outputs ?? []);
          window.failure = outputs.find(output => output.output_type === 'error') ?? null;
          return window.failure !== null || document.querySelector(chosen) !== null;
        }""",
        arg=chosen,
        timeout=SLOW,
    )
    failure = page.evaluate("() => window.failure")
    if failure is not None:
        raise RuntimeError(f"{failure['ename']}: {failure['evalue']}")


def take(desk: Any, folder: Path) -> list[Path]:
    """Train in a workbench whose notebook ``desk`` shows (its cells: `cells`), and write its pictures into a folder."""
    page = desk.page
    page.set_viewport_size({"width": WIDTH, "height": 2100})
    desk.command("application:toggle-left-area")
    desk.command("notebook:run-cell-and-select-next")
    panel = page.locator(".lk-workbench")
    shown(page, ".lk-workbench .lk-glance .lk-bar")
    panel.locator("button.lk-start:enabled").click(timeout=SLOW)
    panel.locator(".lk-summary .lk-chip-finished").wait_for(timeout=SLOW)
    panel.locator(".lk-plots svg path").first.wait_for(timeout=SLOW)
    page.wait_for_timeout(3000)
    written = photograph(desk, "workbench", ".lk-workbench", folder)
    # The press of Start has made the first cell the active one.
    page.locator(".jp-Notebook .jp-InputPrompt").nth(1).click()
    desk.command("notebook:run-cell-and-select-next")
    chosen = ".lk-panel:not(.lk-workbench):has(.lk-drawn svg)"
    shown(page, chosen)
    page.locator(chosen).first.scroll_into_view_if_needed()
    return written + photograph(desk, "report-card", chosen, folder)


def cells(epochs: int = 60) -> list[str]:
    """The cells of the notebook that the pictures are taken in."""
    return [RUN.format(epochs=epochs), REPORT]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "docs", help="where they go (default: docs)")
    folder = parser.parse_args().folder
    sys.path.insert(0, str(ROOT))  # beside the browser tests, whose page this is
    from playwright.sync_api import sync_playwright

    from lepton_kit.doctor import find_chromium
    from tests.browser.desk import SWITCHES, opened, served, shut_down

    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("no Chromium on the PATH (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as work, sync_playwright() as driver:
        home = Path(work)
        (home / "served").mkdir()
        browser = driver.chromium.launch(executable_path=chromium, headless=True, args=list(SWITCHES))
        with served(home / "served", home / "home") as lab:
            desk = opened(lab, browser.new_context(), "pictures.ipynb", cells())
            try:
                for path in take(desk, folder):
                    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
            finally:
                shut_down(desk.page)
        browser.close()


if __name__ == "__main__":
    main()
