"""A real JupyterLab and a real browser: what a user sees, clicked and looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lepton_kit as lk
from tests.browser.desk import START_SECONDS, SWITCHES, Desk, Lab, opened, served, shut_down


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with served(tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser; make setup installs it"
    )
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, headless=True, args=list(SWITCHES))
        yield opened
        opened.close()


@pytest.fixture
def open_notebook(lab: Lab, browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Desk]]:
    """Open a notebook (a file, or cells as texts) at 1280 x 900 and wait until its kernel is idle."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)

    def open_it(name: str, cells: list[str] | Path) -> Desk:
        return opened(lab, context, name, cells)

    yield open_it
    for place, page in enumerate(context.pages):
        Desk(page).photograph(f"{request.node.name}-end-{place}")
        shut_down(page)
    context.close()
    for run in lk.runs(lab.root / "runs"):
        if run.alive:  # the test failed, and the others shall have the machine for themselves
            run.stop().wait(START_SECONDS)
