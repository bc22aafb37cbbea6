"""JupyterLab without any notebook: the launcher card, the sidebar that lists runs, and `lepton` in a terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.error
import urllib.request
from typing import Any

import pytest

from lepton_kit.rundir import lock
from tests.browser.desk import KERNEL_IDLE, START_SECONDS, Desk, Lab, shut_down
from tests.client.test_table import make

SLOW = 120_000


@pytest.fixture
def runs(lab: Lab) -> Any:
    """A run that has ended, and one under way whose driver is this test; those of other tests go first."""
    shutil.rmtree(lab.root / "runs", ignore_errors=True)
    done = make(lab.root / "runs", "done-20260101-000000-0000", epochs=4)
    live = make(lab.root / "runs", "busy-20260101-000001-0000", epochs=2, workers=2, end=None)
    held = lock.take(live.paths)
    yield done, live
    os.close(held)
    for run in (done, live):
        shutil.rmtree(run.directory)


@pytest.fixture
def desk(lab: Lab, browser: Any, request: pytest.FixtureRequest) -> Any:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{lab.address}/lab?token={lab.token}&reset")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget", timeout=START_SECONDS * 1000)
    yield Desk(page)
    Desk(page).photograph(f"{request.node.name}-end")
    shut_down(page)
    context.close()


def test_the_sidebar_lists_runs_and_opens_one(desk: Desk, runs: Any):
    page = desk.page
    page.get_by_role("tab", name="Runs of lepton_kit").click()
    side = page.get_by_role("region", name="Runs of lepton_kit")
    side.get_by_role("button", name=re.compile(r"busy.*running.*step 8 of 20 · 2 workers", re.S)).wait_for(
        timeout=SLOW
    )
    assert side.locator(".lk-side-name").all_inner_texts() == ["busy", "done"]
    desk.photograph_themes("sidebar")
    side.get_by_role("button", name=re.compile("done.*finished", re.S)).press("Enter")
    panel = page.locator(".lk-workbench").first
    panel.locator(".lk-summary", has_text="done-20260101-000000-0000").wait_for(timeout=SLOW)
    page.set_viewport_size({"width": 1280, "height": 1300})
    desk.photograph("sidebar-attached")

    page.wait_for_function(KERNEL_IDLE, timeout=SLOW)
    (first,) = notebooks(desk)
    desk.command("launcher:create")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget?.content?.model?.sharedModel")
    side.get_by_role("button", name=re.compile("done.*finished", re.S)).click()
    page.wait_for_function(
        "path => window.jupyterapp.shell.currentWidget?.context?.path === path", arg=first, timeout=SLOW
    )
    side.get_by_role("button", name=re.compile("busy.*running", re.S)).click()
    page.locator(".lk-summary", has_text="busy-20260101-000001-0000").first.wait_for(timeout=SLOW)
    assert len(notebooks(desk)) == 2, "a notebook for each run, however often it is asked for"


def notebooks(desk: Desk) -> list[str]:
    """The paths of the open notebooks."""
    return desk.page.evaluate(
        """() => Array.from(window.jupyterapp.shell.widgets('main'))
          .filter((one) => one.content?.model?.sharedModel?.cells).map((one) => one.context.path)"""
    )


def asked(lab: Lab, query: str, method: str = "GET") -> tuple[int, Any]:
    request = urllib.request.Request(f"{lab.address}/lepton/api/runs{query}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as failure:
        return failure.code, None


def test_only_who_the_server_knows_gets_an_answer(runs: Any, lab: Lab):
    assert asked(lab, "")[0] == 403
    assert asked(lab, "?token=wrong")[0] == 403
    code, found = asked(lab, f"?token={lab.token}")
    assert (code, [run["id"][:4] for run in found["folders"][0]["runs"]]) == (200, ["busy", "done"])
    assert asked(lab, f"?token={lab.token}&beside=../..")[0] == 400
    assert asked(lab, f"?token={lab.token}", "DELETE")[0] == 405


def test_the_launcher_card_opens_a_workbench(desk: Desk):
    card = desk.page.locator(".jp-LauncherCard", has_text="Workbench").first
    card.wait_for(timeout=SLOW)
    desk.photograph_themes("launcher")
    card.click()
    desk.page.locator(".lk-workbench button.lk-start").wait_for(timeout=SLOW)


def test_a_terminal_finds_the_command_and_the_same_runs(desk: Desk, runs: Any, lab: Lab):
    desk.command("terminal:create-new")
    screen = desk.page.locator(".jp-Terminal .xterm-helper-textarea")
    screen.wait_for(state="attached", timeout=SLOW)
    desk.page.wait_for_timeout(2000)
    out = lab.root / "listed.txt"
    desk.page.keyboard.type(
        "cd /tmp && lepton runs --ids > " + str(out) + " && mv " + str(out) + " " + str(out) + ".done\n"
    )
    for _ in range(300):
        if out.with_name("listed.txt.done").exists():
            break
        desk.page.wait_for_timeout(200)
    assert out.with_name("listed.txt.done").read_text().split() == [run.id for run in runs]
