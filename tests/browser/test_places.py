"""The picture of places on a real page: a choice by keyboard, impossible ones disabled with the reason, nothing for axe."""

from __future__ import annotations

from tests.browser.test_access import found_by_axe

SLOW = 240_000
CELLS = ["import lepton_kit as lk\nlk.devices()", "bench = lk.Workbench(warm=False)\nbench"]


def test_places_are_chosen_from_the_keyboard(open_notebook):
    desk = open_notebook("places.ipynb", CELLS)
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1000})
    desk.command("notebook:run-cell-and-select-next")
    page.wait_for_selector("img[alt*='core']", timeout=SLOW)
    desk.photograph_themes("devices")
    desk.command("notebook:run-cell")
    page.locator(".lk-glance .lk-bar").wait_for(timeout=SLOW)
    page.get_by_role("tab", name="Machine").click()
    page.wait_for_selector("text=this machine shows no GPU", timeout=SLOW)
    own = page.locator("button", has_text="own cores")
    assert page.locator("button", has_text="a GPU each").is_disabled()
    if own.is_enabled():  # a machine with one core, or whose cores others hold, has none to give
        own.focus()
        page.keyboard.press("Space")
        page.wait_for_selector("text=Own cores: each worker is pinned", timeout=SLOW)
        assert (
            "worker 0 on core"
            in page.locator(".lk-workbench svg[role=img]").first.get_attribute("aria-label").lower()
        )
    page.locator(".lk-workbench svg[role=img]").first.scroll_into_view_if_needed()
    desk.photograph_themes("places")
    assert found_by_axe(page, ".lk-workbench") == []
