"""Workers in the live view of a real run: one is slowed by its button, from the keyboard, named in words, and let go again."""

from __future__ import annotations

SLOW = 240_000
CELLS = [
    """import lepton_kit as lk
model = lk.LeptonModel(input_shape=(8, 8, 1), num_classes=10, hidden_size=256, num_layers=3)
run = lk.launch(model, lk.data.sample("digits"), workers=3, global_batch=600, epochs=100_000, log_seconds=0.5)
run.set(learning_rate=1e-5)
lk.panels.LivePanel(run)""",
    "run.stop().wait(60); print('it ended')",
]


def test_a_worker_is_slowed_named_and_let_go(open_notebook):
    desk = open_notebook("workers.ipynb", CELLS)
    page = desk.page
    desk.command("notebook:run-cell-and-select-next")
    page.wait_for_selector(".lk-rank-bar", timeout=SLOW)
    assert page.locator(".lk-rank-bar").count() == 3
    page.locator(".lk-panel select").select_option("rank 1")
    page.locator(".lk-panel select").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lk-straggler:has-text('Rank 1 takes')", timeout=SLOW)
    page.wait_for_selector("text=made slow: ×3 as slow", timeout=SLOW)
    page.wait_for_selector(".lk-rank-strip", timeout=SLOW)
    page.wait_for_timeout(10_000)
    page.locator(".lk-straggler").scroll_into_view_if_needed()
    desk.photograph_themes("workers")
    page.locator(".lk-undo").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=made slow", state="detached", timeout=SLOW)
    page.wait_for_selector(".lk-straggler:has-text('Rank 1 takes')", state="detached", timeout=SLOW)
    desk.command("notebook:run-cell")
    page.wait_for_selector("text=it ended", timeout=SLOW)
