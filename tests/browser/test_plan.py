"""A plan from the workbench: made by short runs, shown as picture and sentence, and taken by the sliders."""

from __future__ import annotations

from typing import Any

from tests.browser.test_access import SLOW, found_by_axe


def test_a_plan_is_made_in_the_page_and_sets_the_sliders(open_notebook: Any):
    desk = open_notebook("plan.ipynb", ["import lepton_kit as lk\npanel = lk.Workbench(warm=False)\npanel"])
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1100})
    desk.command("notebook:run-all-cells")
    panel = page.locator(".lk-workbench")
    panel.locator(".lk-glance .lk-bar").wait_for(timeout=SLOW)
    workers = panel.get_by_label("Workers", exact=True)
    workers.fill("1")
    workers.press("Enter")
    plan = panel.locator(".lk-planner")
    plan.locator("button.lk-plan").click()
    plan.get_by_text("short run").first.wait_for(timeout=SLOW)
    picture = plan.get_by_role("img", name="Predicted samples/s by number of workers")
    picture.wait_for(timeout=SLOW)
    advised = plan.get_by_text("Use ", exact=False).filter(has_text="global batch").first.inner_text()
    plan.locator("button.lk-use-this").click()
    number = advised.split()[1]
    page.wait_for_function(
        "number => document.querySelector('.lk-workers-slider .lk-number-field').value === number", arg=number
    )
    plan.scroll_into_view_if_needed()
    desk.photograph_themes("plan")
    assert found_by_axe(page, ".lk-workbench") == []
