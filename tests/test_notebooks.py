"""The notebooks as they are stored: whoever opens one without a kernel sees every panel and figure, with words."""

from __future__ import annotations

import functools
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbval.plugin import get_sanitize_patterns

import lepton_kit as lk

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.rglob("*.ipynb"))
WIDGET, PLOTLY = "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json"


class Images(HTMLParser):
    """The alternative texts of all pictures of a page, and whether it runs plotly."""

    def __init__(self, html: str):
        super().__init__()
        self.alts: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "img" and (known.get("src") or "").startswith("data:image/"):
            self.alts.append(known.get("alt"))


def is_plain_widget(output: nbformat.NotebookNode) -> bool:
    """A widget of the notebook's own, such as a button: it is nothing to look at."""
    return bool(output.data.get("text/plain", "").startswith("Button("))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_needs_code_to_be_shown_has_a_picture_beside_it(path):
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells):
        outputs = cell.get("outputs", [])
        panels = [one for one in outputs if WIDGET in one.get("data", {}) and not is_plain_widget(one)]
        figures = [one for one in outputs if PLOTLY in one.get("data", {})]
        stills = [one for one in outputs if 'class="lk-still"' in one.get("data", {}).get("text/html", "")]
        assert len(stills) == len(panels), f"{path.name}, cell {number}"
        for one in (*figures, *stills):
            assert 'alt="' in one.data["text/html"]
            assert "<script" not in one.data["text/html"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_converted_notebook_has_words_for_its_panels_and_figures(path):
    notebook = nbformat.read(path, as_version=4)
    count = sum(
        "<img" in one.get("data", {}).get("text/html", "")
        for cell in notebook.cells
        for one in cell.get("outputs", [])
    )
    images = Images(HTMLExporter().from_notebook_node(notebook)[0])
    assert sum(bool(alt) for alt in images.alts) >= count


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_names_a_folder_of_the_machine_that_made_it(path):
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            told = str(output.get("text", "")) + "".join(
                str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")
            )
            found = re.search(r"(?<![\w.])/(root|home|Users|work)/", told)
            assert found is None, (
                f"{path.name}, cell {number}: {told[max(0, found.start() - 60) : found.end() + 60]}"
            )


def test_a_drawing_of_other_figures_is_the_same_output_and_its_words_are_compared():
    known = get_sanitize_patterns((FOLDER.parent / "scripts" / "nbval.cfg").read_text())

    def compared(heights: list[float], text: str) -> dict[str, str]:
        shown = lk.panels.lines({"measured": ([0, 1], heights)}, x="step", y="share", text=text)
        found = shown._repr_mimebundle_()
        return {
            kind: functools.reduce(lambda said, rule: re.sub(*rule, said), known, value)
            for kind, value in found.items()
        }

    assert compared([0.0, 0.5], "it rises") == compared([0.1, 0.4], "it rises")
    assert compared([0.0, 0.5], "it rises") != compared([0.0, 0.5], "it falls")
