"""A run on two hosts from the form: added, checked, chosen, started, and seen by host."""

from __future__ import annotations

from typing import Any

from tests.browser.test_access import SLOW, found_by_axe


def test_a_run_on_two_hosts_is_set_up_and_seen_in_the_page(open_notebook: Any):
    desk = open_notebook(
        "hosts.ipynb",
        [
            "import os, tempfile\nos.environ['XDG_CONFIG_HOME'] = tempfile.mkdtemp()\n"
            "import lepton_kit as lk\npanel = lk.Workbench(warm=False)\npanel",
        ],
    )
    page = desk.page
    page.set_viewport_size({"width": 1280, "height": 1100})
    desk.command("notebook:run-all-cells")
    panel = page.locator(".lk-workbench")
    panel.locator(".lk-glance .lk-bar").wait_for(timeout=SLOW)
    panel.get_by_label("Epochs", exact=True).fill("100000")
    panel.get_by_label("Epochs", exact=True).press("Enter")
    panel.get_by_role("tab", name="Machine").click()
    for name in ("localhost/a:1", "localhost/b:1"):
        panel.get_by_label("Add a host").fill(name)
        panel.get_by_label("Add a host").press("Enter")
        panel.locator("button.lk-add").click()
        panel.get_by_label(f"Use {name.partition(':')[0]}").wait_for(timeout=SLOW)
    panel.locator("button.lk-check-hosts").click()
    panel.locator(".lk-hosts").get_by_text("Mbit/s").first.wait_for(timeout=SLOW)
    assert panel.locator(".lk-hosts .lk-chip-ready").count() == 2
    desk.photograph("hosts-checked")
    panel.get_by_role("tab", name="Set up").click()
    panel.get_by_text("localhost/a (1), localhost/b (1): 2 slots").wait_for(timeout=SLOW)
    panel.locator("button.lk-start").click()
    panel.locator(".lk-summary .lk-chip-running").wait_for(timeout=SLOW)
    panel.locator(".lk-workers").get_by_text("of each batch").wait_for(timeout=SLOW)
    panel.get_by_role("tab", name="Machine").click()
    panel.locator(".lk-hosts").get_by_text("50% of each batch").first.wait_for(timeout=SLOW)
    desk.photograph_themes("hosts-live")
    assert found_by_axe(page, ".lk-workbench") == []
    panel.locator(".lk-workers").scroll_into_view_if_needed()
    desk.photograph("hosts-workers")
    panel.get_by_role("tab", name="Set up").click()
    panel.locator("button.lk-stop").click()
    panel.locator(".lk-summary .lk-chip-stopped").wait_for(timeout=SLOW)
