"""Energy as a page shows it: the plane of accuracy and energy, what a run took, the comparison and the list of runs."""

from __future__ import annotations

from typing import Any

from tests.browser.test_access import SLOW
from tests.client.test_energy import BEGAN, epoch, run_of, steps, took

CARD = """
import lepton_kit as lk
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.rows import Figure, Row

def row(name, score, joules):
    figures = {"score": Figure(score, "measured", score - 0.03, score + 0.02),
               "energy": Figure(joules, "estimated", 0.6 * joules, 1.6 * joules)}
    return Row(name, "LiteRT", figures=figures, role="float" if name == "float32" else "variant")

card = ReportCard((row("float32", 0.95, 2.0), row("int8", 0.94, 0.62), row("int4", 0.8, 0.5), row("slow", 0.95, 9.0)),
                  "accuracy", True, 400)
lk.tradeoff(card)
"""
RUNS = """
runs = lk.runs("energies")
print(runs[0].energy())
print(runs[0].cost(grams_per_kwh=50))
lk.panels.RunsPanel("energies")
"""
COMPARED = "lk.panels.ComparePanel(lk.compare(runs))"
SENTENCE = "int8 gives the same accuracy as float32 within its interval for 0.31 × of the energy (estimated)."


def test_the_plane_and_what_runs_took_are_seen_in_the_page(lab: Any, open_notebook: Any):
    folder = lab.root / "energies"
    for name, joules, score in (
        ("wide-20260101-000000-0000", 5400.0, 0.9),
        ("slim-20260101-000001-0000", 900.0, 0.89),
    ):
        run_of(folder, name, [took(BEGAN + 20, joules, "estimated"), steps(BEGAN + 20, 0, 10.0),
                              epoch(BEGAN + 20, 0, 10.0, score)])  # fmt: skip
    desk = open_notebook("energy.ipynb", [CARD, RUNS, COMPARED])
    page = desk.page
    desk.command("notebook:run-all-cells")
    page.get_by_text(SENTENCE).first.wait_for(timeout=SLOW)
    assert page.locator(f'img[alt*="{SENTENCE}"]').count() == 1
    page.get_by_text("≈ 5.4 kJ").first.wait_for(timeout=SLOW)
    assert page.locator('td[title="no counter"]').count() == 2
    said = "slim gives the same val_accuracy as wide within its interval for 0.17 × of the energy of training (estimated)."
    page.get_by_text(said).first.wait_for(timeout=SLOW)
    for place, words in enumerate((SENTENCE, "≈ 5.4 kJ", said)):
        page.get_by_text(words).first.scroll_into_view_if_needed()
        desk.photograph_themes(f"energy-{place}")
